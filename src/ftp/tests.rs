//! Cases of grammar, each also with its bytes cut at every place.

use super::command::{Command, Fault, Verb};
use super::feat;
use super::hostport::{self, Announced, ArgError, EpsvArg, PassiveError};
use super::line::DEFAULT_LIMIT;
use super::pending::{self, Match, Pending};
use super::reader::{Input, Reader};
use super::reply::{self, Class, Held, Part, ReplyReader};
use super::{Mode, telnet};
use std::net::{SocketAddr, SocketAddrV4};

/// What a client's line came to, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Got {
    Command { verb: Verb, argument: Vec<u8>, out: Vec<u8> },
    Fault(Fault),
    Overlong,
}

fn got(verb: Verb, argument: &[u8]) -> Got {
    let mut out = verb.name().as_bytes().to_vec();
    if !argument.is_empty() {
        out.push(b' ');
    }
    out.extend_from_slice(argument);
    out.extend_from_slice(b"\r\n");
    Got::Command { verb, argument: argument.to_vec(), out }
}

/// The commands in `bytes`, whole and in segments of 1 to 4 bytes.
fn commands(bytes: &[u8], mode: Mode) -> Vec<Got> {
    let run = |chunk: usize| {
        let mut reader = Reader::new(DEFAULT_LIMIT);
        let mut all = Vec::new();
        for mut part in bytes.chunks(chunk) {
            while let Some(input) = reader.next(&mut part) {
                match input {
                    Input::Line(line) => match Command::parse(&line, mode) {
                        Ok(Some(command)) => {
                            let mut out = Vec::new();
                            command.write(&mut out);
                            let (verb, argument) = (command.verb, command.argument.to_vec());
                            all.push(Got::Command { verb, argument, out });
                        }
                        Ok(None) => {}
                        Err(fault) => all.push(Got::Fault(fault)),
                    },
                    Input::Overlong { .. } => all.push(Got::Overlong),
                    other => panic!("{other:?}"),
                }
            }
        }
        assert!(!reader.is_mid_line());
        all
    };
    let whole = run(bytes.len());
    for chunk in 1..5 {
        assert_eq!(run(chunk), whole, "segments of {chunk}");
    }
    whole
}

/// The argument of the only command in `bytes`, which must be `verb`.
fn argument(bytes: &[u8], verb: Verb) -> Vec<u8> {
    match commands(bytes, Mode::Lenient).as_slice() {
        [Got::Command { verb: v, argument, .. }] if *v == verb => argument.clone(),
        other => panic!("{other:?}"),
    }
}

fn port(bytes: &[u8]) -> Result<SocketAddrV4, ArgError> {
    hostport::parse_port(&argument(bytes, Verb::Port))
}

fn eprt(bytes: &[u8], mode: Mode) -> Result<SocketAddr, ArgError> {
    hostport::parse_eprt(&argument(bytes, Verb::Eprt), mode)
}

/// The replies in `bytes` with the parts of their lines, whole and in segments of 1 to 4 bytes.
fn replies(bytes: &[u8], awaited: Option<Verb>) -> Vec<(u16, Vec<Part>, Held, bool)> {
    let run = |chunk: usize| {
        let (mut reader, mut cutter) = (Reader::new(DEFAULT_LIMIT), ReplyReader::default());
        let (mut all, mut parts, mut held) = (Vec::new(), Vec::new(), Held::default());
        for mut segment in bytes.chunks(chunk) {
            while let Some(input) = reader.next(&mut segment) {
                let Input::Line(line) = input else { panic!("{input:?}") };
                let line = cutter.push(line.bytes, awaited);
                parts.push(line.part);
                held.push(&line);
                if line.part.ends() {
                    all.push((
                        line.code,
                        std::mem::take(&mut parts),
                        std::mem::take(&mut held),
                        line.mismatched,
                    ));
                }
            }
        }
        assert!(parts.is_empty(), "a reply without end");
        all
    };
    let text = |all: &[(u16, Vec<Part>, Held, bool)]| {
        let line = |h: &Held| h.lines().map(<[u8]>::to_vec).collect::<Vec<_>>();
        all.iter().map(|(c, p, h, m)| (*c, p.clone(), line(h), *m)).collect::<Vec<_>>()
    };
    let whole = run(bytes.len());
    for chunk in 1..5 {
        assert_eq!(text(&run(chunk)), text(&whole), "segments of {chunk}");
    }
    whole
}

/// What the only reply in `bytes` announces.
fn passive(bytes: &[u8], mode: Mode) -> Result<Announced, PassiveError> {
    let replies = replies(bytes, Some(Verb::Pasv));
    let [(code, _, held, false)] = replies.as_slice() else { panic!("{replies:?}") };
    hostport::parse_passive(*code, held.lines(), mode)
}

fn at(address: &str, port: u16) -> Result<Announced, PassiveError> {
    Ok(Announced { port, address: Some(address.parse().unwrap()) })
}

fn client() -> SocketAddrV4 {
    "10.0.0.5:5001".parse().unwrap()
}

#[test]
fn g1_port_is_parsed_and_written_anew() {
    assert_eq!(port(b"PORT 10,0,0,5,19,137\r\n"), Ok(client()));
    let mut out = Vec::new();
    hostport::write_port(&mut out, "203.0.113.9:5001".parse().unwrap());
    assert_eq!(out, b"PORT 203,0,113,9,19,137\r\n");
}

#[test]
fn g2_lower_case_and_bare_lf() {
    let line = b"port 10,0,0,5,19,137\n";
    assert_eq!(port(line), Ok(client()));
    let [Got::Command { out, .. }] = &commands(line, Mode::Lenient)[..] else { panic!() };
    assert_eq!(out, b"port 10,0,0,5,19,137\r\n");
    assert_eq!(commands(line, Mode::Strict), [Got::Fault(Fault::BareLf)]);
    assert_eq!(Fault::BareLf.reply().0, 500);
}

#[test]
fn g3_field_over_255_is_refused() {
    assert_eq!(port(b"PORT 10,0,0,5,19,393\r\n"), Err(ArgError::Syntax));
    assert_eq!(ArgError::Syntax.reply().0, 501);
}

#[test]
fn g4_empty_fields_are_refused() {
    for line in [&b"PORT 10,0,0,5,,22\r\n"[..], b"PORT ,,,,,\r\n", b"PORT \r\n", b"PORT 10,0,0,5,-1,22\r\n"] {
        assert_eq!(port(line), Err(ArgError::Syntax));
    }
}

#[test]
fn g5_leading_zeros_are_decimal() {
    assert_eq!(port(b"PORT 010,0,0,005,019,137\r\n"), Ok(client()));
}

#[test]
fn g6_a_seventh_field_is_refused_and_blanks_at_the_end_are_not() {
    assert_eq!(port(b"PORT 10,0,0,5,19,137,1\r\n"), Err(ArgError::Syntax));
    assert_eq!(port(b"PORT 10,0,0,5,19,137 x\r\n"), Err(ArgError::Syntax));
    assert_eq!(port(b"PORT 10,0,0,5,19 ,137\r\n"), Err(ArgError::Syntax));
    assert_eq!(port(b"PORT 10,0,0,5,19,137  \r\n"), Ok(client()));
}

#[test]
fn g7_a_port_does_not_reach_over_its_line() {
    let both = commands(b"PORT\r\nNOOP 10,0,0,5,19,137\r\n", Mode::Lenient);
    assert_eq!(both, [got(Verb::Port, b""), got(Verb::Noop, b"10,0,0,5,19,137")]);
    assert_eq!(hostport::parse_port(b""), Err(ArgError::Syntax));
}

#[test]
fn g8_a_longer_verb_is_another_verb() {
    let [Got::Command { verb, .. }] = commands(b"PORTX 10,0,0,5,19,137\r\n", Mode::Lenient)[..] else {
        panic!()
    };
    assert_eq!(verb, Verb::Other);
    assert!(!verb.is_data_setup());
}

#[test]
fn g9_blanks_and_empty_lines_before_a_command() {
    let line = b"\r\n\n PORT 10,0,0,5,19,137\r\n";
    assert_eq!(port(line), Ok(client()));
    assert_eq!(commands(line, Mode::Strict), [const { Got::Fault(Fault::Blank) }; 3]);
    assert_eq!(Fault::Blank.reply().0, 500);
}

#[test]
fn g10_eprt() {
    assert_eq!(eprt(b"EPRT |1|10.0.0.5|5001|\r\n", Mode::Strict), Ok(client().into()));
}

#[test]
fn g11_eprt_with_another_delimiter() {
    assert_eq!(eprt(b"EPRT !1!10.0.0.5!5001!\r\n", Mode::Strict), Ok(client().into()));
    assert_eq!(eprt(b"EPRT !1!10.0.0.5!5001|\r\n", Mode::Lenient), Err(ArgError::Syntax));
}

#[test]
fn g12_eprt_without_its_last_delimiter() {
    let line = b"EPRT |1|10.0.0.5|5001\r\n";
    assert_eq!(eprt(line, Mode::Lenient), Ok(client().into()));
    assert_eq!(eprt(line, Mode::Strict), Err(ArgError::Syntax));
}

#[test]
fn g13_eprt_whose_address_is_of_another_family() {
    assert_eq!(eprt(b"EPRT |2|10.0.0.5|5001|\r\n", Mode::Lenient), Err(ArgError::Syntax));
    assert_eq!(eprt(b"EPRT |1|fe80::1|5001|\r\n", Mode::Lenient), Err(ArgError::Syntax));
}

#[test]
fn g14_eprt_of_an_unknown_protocol() {
    let error = eprt(b"EPRT |3|x|1|\r\n", Mode::Lenient).unwrap_err();
    assert_eq!(error, ArgError::Protocol);
    assert_eq!(error.reply(), (522, "Network protocol not supported, use (1,2)"));
}

#[test]
fn g15_a_mapped_address_is_ipv4() {
    assert_eq!(eprt(b"EPRT |2|::ffff:10.0.0.5|5001|\r\n", Mode::Strict), Ok(client().into()));
}

#[test]
fn g16_eprt_ports_out_of_range() {
    assert_eq!(eprt(b"EPRT |1|10.0.0.5|65536|\r\n", Mode::Lenient), Err(ArgError::Syntax));
    assert_eq!(eprt(b"EPRT |1|10.0.0.5|0|\r\n", Mode::Lenient), Err(ArgError::Syntax));
    let low = eprt(b"EPRT |1|10.0.0.5|22|\r\n", Mode::Lenient).unwrap();
    let error = hostport::check_port(low.port(), hostport::DEFAULT_DENIED_PORTS).unwrap_err();
    assert_eq!(error.reply().0, 504);
}

#[test]
fn g17_a_digit_is_no_delimiter() {
    assert_eq!(eprt(b"EPRT 11110.0.0.5150011\r\n", Mode::Lenient), Err(ArgError::Syntax));
}

#[test]
fn g18_to_g22_forms_of_227() {
    for reply in [
        "227 Entering Passive Mode (198,51,100,7,200,10).\r\n",
        "227 Entering passive mode. 198,51,100,7,200,10\r\n",
        "227 =198,51,100,7,200,10\r\n",
        "227 198,51,100,7,200,10\r\n",
        "227 IPv4 v2 (198,51,100,7,200,10)\r\n",
        "227 Entering Passive Mode( 198, 51,100,7 ,200,10).\r\n",
    ] {
        for mode in [Mode::Lenient, Mode::Strict] {
            assert_eq!(passive(reply.as_bytes(), mode), at("198.51.100.7", 51210), "{reply}");
        }
    }
}

#[test]
fn g23_a_227_of_two_lines_with_a_zero_address() {
    assert_eq!(passive(b"227-hello\r\n227 (0,0,0,0,200,10)\r\n", Mode::Lenient), at("0.0.0.0", 51210));
}

#[test]
fn g24_the_tuple_may_be_in_an_earlier_line() {
    let reply = b"227-(198,51,100,7,200,10)\r\n227 ok\r\n";
    assert_eq!(passive(reply, Mode::Lenient), at("198.51.100.7", 51210));
    // The last line goes first.
    let reply = b"227-load 1,2,3,4,5,6\r\n227 (198,51,100,7,200,10)\r\n";
    assert_eq!(passive(reply, Mode::Lenient), at("198.51.100.7", 51210));
}

#[test]
fn g25_g26_a_227_without_address() {
    assert_eq!(passive(b"227 Entering Passive Mode (\r\n", Mode::Lenient), Err(PassiveError::Missing));
    assert_eq!(passive(b"227 Logout.\r\n", Mode::Lenient), Err(PassiveError::Missing));
    // Nobody asked: it belongs to no command, whatever it says.
    assert_eq!(Pending::<()>::default().on_reply(227).what, Match::Unsolicited);
}

#[test]
fn g27_port_zero() {
    let reply = b"227 Entering Passive Mode (198,51,100,7,0,0)\r\n";
    assert_eq!(passive(reply, Mode::Lenient), Err(PassiveError::ZeroPort));
}

#[test]
fn g28_to_g30_forms_of_229() {
    let ok = Ok(Announced { port: 51210, address: None });
    for reply in [
        "229 Ext (|||51210|)\r\n",
        "229 Ext (!!!51210!)\r\n",
        "229 Ext (|||51210|).\r\n",
        "229 (mode) x (|||51210|)\r\n",
        "229 Ext (|1|10.9.9.9|51210|)\r\n",
    ] {
        assert_eq!(passive(reply.as_bytes(), Mode::Strict), ok, "{reply}");
        assert_eq!(passive(reply.as_bytes(), Mode::Lenient), ok, "{reply}");
    }
    for reply in [&b"229 Ext (||51210|)\r\n"[..], b"229 Ext (|||51210)\r\n"] {
        assert_eq!(passive(reply, Mode::Lenient), ok);
        assert_eq!(passive(reply, Mode::Strict), Err(PassiveError::Missing));
    }
    for reply in [
        "229 Ext (|7|51210|)\r\n",
        "229 Ext (|||65536|)\r\n",
        "229 Ext (|||)\r\n",
        "229 Ext 51210\r\n",
        "229 (|||512\r\n",
    ] {
        assert_eq!(passive(reply.as_bytes(), Mode::Lenient), Err(PassiveError::Missing), "{reply}");
    }
    assert_eq!(passive(b"229 (|||0|)\r\n", Mode::Lenient), Err(PassiveError::ZeroPort));
}

#[test]
fn g31_the_code_decides_the_form() {
    for (verb, reply) in
        [(Verb::Epsv, &b"227 (198,51,100,7,200,10)\r\n"[..]), (Verb::Pasv, b"229 (|||51210|)\r\n")]
    {
        let all = replies(reply, Some(verb));
        let announced = hostport::parse_passive(all[0].0, all[0].2.lines(), Mode::Lenient);
        assert_eq!(announced.map(|a| a.port), Ok(51210));
        assert!(verb.is_own_completion(all[0].0));
    }
}

#[test]
fn g32_g33_arguments_of_epsv() {
    let epsv = |line: &[u8]| hostport::parse_epsv(&argument(line, Verb::Epsv));
    assert_eq!(epsv(b"EPSV\r\n"), Ok(EpsvArg::Same));
    assert_eq!(epsv(b"EPSV 1\r\n"), Ok(EpsvArg::V4));
    assert_eq!(epsv(b"epsv 2 \r\n"), Ok(EpsvArg::V6));
    assert_eq!(epsv(b"EPSV all\r\n"), Ok(EpsvArg::All));
    assert_eq!(epsv(b"EPSV 3\r\n").unwrap_err().reply().0, 522);
    assert_eq!(epsv(b"EPSV xyz\r\n").unwrap_err().reply().0, 501);
    assert_eq!(epsv(b"EPSV 1 2\r\n").unwrap_err().reply().0, 501);
}

#[test]
fn g34_lprt() {
    let line = argument(b"LPRT 4,4,10,0,0,5,2,19,137\r\n", Verb::Lprt);
    assert_eq!(hostport::parse_lprt(&line), Ok(client().into()));
    assert!(Verb::Lprt.is_data_setup() && Verb::Lpsv.is_data_setup());
}

#[test]
fn g35_banners() {
    let all = replies(b"220-a\r\n220-b\r\n220 c\r\n", None);
    assert_eq!(all[0].1, [Part::First, Part::Middle, Part::Last]);
    let all = replies(b"220\r\n", None);
    assert_eq!((all[0].0, &all[0].1[..]), (220, &[Part::Whole][..]));
    let all = replies(b"220-a\r\n220\r\n", None);
    assert_eq!((all.len(), &all[0].1[..]), (1, &[Part::First, Part::Last][..]));
}

#[test]
fn g36_a_reply_closed_by_the_code_that_is_awaited() {
    let all = replies(b"230- warn\r\n text\r\n226 done\r\n", Some(Verb::Retr));
    assert_eq!((all.len(), all[0].0, all[0].3), (1, 226, true));
}

#[test]
fn g37_a_reply_without_measure_is_cut_off() {
    let mut cutter = ReplyReader::default();
    let line = [b"220-".as_slice(), &[b'x'; 1000]].concat();
    let mut passed = 0;
    for _ in 0..1100 {
        match cutter.push(&line, None).part {
            Part::TooLong => {}
            _ => passed += line.len() + 2,
        }
    }
    assert!(passed <= reply::MAX_REPLY && passed + line.len() + 2 > reply::MAX_REPLY);
    assert_eq!(cutter.push(b"220 end", None).part, Part::TooLong);
}

#[test]
fn g38_an_overlong_line_is_told_once() {
    let mut bytes = b"RETR ".to_vec();
    bytes.resize(5005, b'a');
    bytes.extend_from_slice(b"\r\nNOOP\r\n");
    assert_eq!(commands(&bytes, Mode::Lenient), [Got::Overlong, got(Verb::Noop, b"")]);
}

#[test]
fn g39_a_hundred_commands_in_one_segment() {
    let bytes = b"NOOP\r\n".repeat(100);
    let mut input = &bytes[..];
    let (mut reader, mut pending) = (Reader::new(DEFAULT_LIMIT), Pending::default());
    let mut sent = 0;
    while !pending.is_full() && reader.next(&mut input).is_some() {
        pending.push(Verb::Noop, sent).unwrap();
        sent += 1;
    }
    assert_eq!((sent, input.len()), (pending::MAX, 6 * (100 - pending::MAX)));
    // Each answer makes room for one more, and order holds to the end.
    for want in 0..100 {
        assert!(matches!(pending.on_reply(200).what, Match::Done(e) if e.tag == want));
        if reader.next(&mut input).is_some() {
            pending.push(Verb::Noop, sent).unwrap();
            sent += 1;
        }
    }
    assert!(sent == 100 && pending.is_empty());
}

#[test]
fn g40_cr_nul_in_a_name_is_kept() {
    for mode in [Mode::Lenient, Mode::Strict] {
        assert_eq!(commands(b"STOR a\r\0b\r\n", mode), [got(Verb::Stor, b"a\r\0b")]);
    }
    assert_eq!(&*telnet::collapse_cr_nul(b"a\r\0b"), b"a\rb");
}

#[test]
fn g41_nul_in_a_name_is_refused() {
    for mode in [Mode::Lenient, Mode::Strict] {
        assert_eq!(commands(b"STOR a\0b\r\n", mode), [Got::Fault(Fault::Nul)]);
    }
    assert_eq!(Fault::Nul.reply().0, 501);
    assert_eq!(commands(b"STOR a\rb\r\n", Mode::Strict), [Got::Fault(Fault::BareCr)]);
    assert_eq!(commands(b"STOR a\rb\r\n", Mode::Lenient), [got(Verb::Stor, b"a\rb")]);
}

fn features(reply: &[u8]) -> String {
    let all = replies(reply, Some(Verb::Feat));
    let policy = feat::Policy { hide: &["MODE Z", "AUTH", "PBSZ", "PROT", "CCC"], add: &["EPRT", "EPSV"] };
    let mut out = Vec::new();
    feat::rewrite(&mut out, all[0].2.lines(), &policy);
    String::from_utf8(out).unwrap()
}

#[test]
fn g42_features_are_filtered_and_completed() {
    let reply = b"211-Features:\r\n MODE Z\r\n AUTH TLS\r\n EPRT\r\n SIZE\r\n211 End\r\n";
    assert_eq!(features(reply), "211-Features:\r\n EPRT\r\n SIZE\r\n EPSV\r\n211 End\r\n");
}

#[test]
fn g43_odd_lists_of_features_come_out_clean() {
    let clean = "211-Features:\r\n EPRT\r\n EPSV\r\n REST STREAM\r\n211 End\r\n";
    for reply in [
        "211-Features:\r\n211-EPRT\r\n211-EPSV\r\n211-REST STREAM\r\n211 End\r\n",
        "211-Features:\r\n EPRT\r\n\r\n EPSV\r\n REST STREAM\r\n \r\n211 End\r\n",
        "211-Extended features supported:\r\n    EPRT\r\n    EPSV\r\n    REST STREAM\r\n211 END\r\n",
    ] {
        assert_eq!(features(reply.as_bytes()), clean);
    }
}

#[test]
fn g44_rest_then_retr() {
    let both = commands(b"REST 100\r\nRETR f\r\n", Mode::Strict);
    assert_eq!(both, [got(Verb::Rest, b"100"), got(Verb::Retr, b"f")]);
    let mut pending = Pending::default();
    pending.push(Verb::Rest, ()).unwrap();
    pending.push(Verb::Retr, ()).unwrap();
    assert!(matches!(pending.on_reply(350).what, Match::Done(e) if e.verb == Verb::Rest));
    assert_eq!(pending.on_reply(150).what, Match::Preliminary);
    assert!(pending.front().is_some_and(|e| e.verb == Verb::Retr && e.begun));
}

#[test]
fn g47_the_name_that_stou_got() {
    let all = replies(b"150 FILE: x\r\n", Some(Verb::Stou));
    assert_eq!(Class::of(all[0].0), Some(Class::Preliminary));
    assert_eq!(all[0].2.lines().next().and_then(reply::stored_name), Some(&b"x"[..]));
    assert_eq!(reply::stored_name(b"Opening"), None);
}

#[test]
fn g48_names_are_bytes() {
    for name in ["grüße €".as_bytes(), b"gr\xfc\xdfe", b" leading and trailing  ", b"a\xffb"] {
        let mut wire = b"STOR ".to_vec();
        telnet::escape_into(&mut wire, name);
        wire.extend_from_slice(b"\r\n");
        assert_eq!(commands(&wire, Mode::Strict), [got(Verb::Stor, name)]);
    }
}

#[test]
fn t8_telnet_does_not_hide_a_verb() {
    assert_eq!(
        commands(b"PO\xff\xf1RT 10,0,0,5,19,137\r\n", Mode::Strict),
        [got(Verb::Port, b"10,0,0,5,19,137")]
    );
}
