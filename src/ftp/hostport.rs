//! Where a data connection goes: PORT, EPRT, EPSV, LPRT and the replies 227, 228, 229.
//!
//! Addresses in these texts are the peer's claim. A caller uses the port, the address of the control
//! connection, and compares.

use super::Mode;
use super::command::{is_blank, skip_blanks, trim_blanks};
use super::verb::Verb;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4};
use std::ops::RangeInclusive;

/// Why an argument is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArgError {
    /// Not the verb's grammar, or a number out of range.
    Syntax,
    /// A port that no data connection may use ([`check_port`]).
    Port,
    /// A network protocol other than 1 and 2 in EPRT and EPSV (RFC 2428).
    Protocol,
    /// An address family other than 4 and 6 in LPRT (RFC 1639).
    Family,
}

impl ArgError {
    /// The reply to give: code and text.
    #[must_use]
    pub const fn reply(self) -> (u16, &'static str) {
        match self {
            Self::Syntax => (501, "Syntax error in parameters."),
            Self::Port => (504, "Port not allowed for data connections."),
            Self::Protocol => (522, "Network protocol not supported, use (1,2)"),
            Self::Family => (521, "Supported address families are (4,6)"),
        }
    }
}

/// Why a reply to PASV, EPSV or LPSV names no usable port. To the client that is a 425.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PassiveError {
    /// No address or port in it.
    Missing,
    /// Port 0.
    ZeroPort,
    /// A code other than 227, 228, 229.
    Code,
}

/// Where a server says that it listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// The port, never 0.
    pub port: u16,
    /// The address it claims; `None` where the form has none (229).
    pub address: Option<IpAddr>,
}

/// EPSV's argument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EpsvArg {
    /// None: the control connection's family.
    Same,
    /// 1: IPv4.
    V4,
    /// 2: IPv6.
    V6,
    /// ALL: from now on no other setup command is allowed (RFC 2428 section 4).
    All,
}

impl EpsvArg {
    /// Whether it asks for the control connection's family.
    #[must_use]
    pub const fn fits(self, ipv4: bool) -> bool {
        match self {
            Self::V4 => ipv4,
            Self::V6 => !ipv4,
            Self::Same | Self::All => true,
        }
    }
}

/// The reply to `verb` with an address of another family than the control connection's, which is IPv4 or not:
/// code and text.
#[must_use]
pub const fn other_family(verb: Verb, ipv4: bool) -> (u16, &'static str) {
    match (verb, ipv4) {
        (Verb::Port, _) => (501, "PORT names an IPv4 address; use EPRT."),
        (Verb::Lprt, true) => (521, "Supported address families are (4)"),
        (Verb::Lprt, false) => (521, "Supported address families are (6)"),
        (_, true) => (522, "Network protocol not supported, use (1)"),
        (_, false) => (522, "Network protocol not supported, use (2)"),
    }
}

/// Ports that data connections are never opened to unless the configuration says otherwise: databases,
/// remote desktops, X11, proxies, SIP and what else browsers block against slipstreaming. Below 1024 everything is
/// refused anyhow.
pub const DEFAULT_DENIED_PORTS: &[RangeInclusive<u16>] = &[
    1433..=1433,
    1521..=1521,
    1719..=1720,
    1723..=1723,
    2049..=2049,
    2375..=2375,
    3306..=3306,
    3389..=3389,
    5060..=5061,
    5432..=5432,
    5900..=5910,
    5985..=5985,
    6000..=6063,
    6379..=6379,
    6566..=6566,
    8080..=8080,
    8443..=8443,
    9200..=9200,
    10080..=10080,
    11211..=11211,
    27017..=27017,
];

/// Checks a data port against RFC 2577 section 3 (1024 and above) and a list of further ranges.
///
/// # Errors
/// [`ArgError::Port`].
pub fn check_port(port: u16, denied: &[RangeInclusive<u16>]) -> Result<(), ArgError> {
    if port < 1024 || denied.iter().any(|range| range.contains(&port)) {
        return Err(ArgError::Port);
    }
    Ok(())
}

/// PORT's argument: six decimal fields of 1 to 3 digits; blanks around the whole are let through.
///
/// # Errors
/// [`ArgError::Syntax`], also for port 0.
pub fn parse_port(argument: &[u8]) -> Result<SocketAddrV4, ArgError> {
    let mut fields = [0; 6];
    octets(trim_blanks(argument), &mut fields)?;
    let [a, b, c, d, hi, lo] = fields;
    let port = nonzero(u16::from_be_bytes([hi, lo]))?;
    Ok(SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), port))
}

/// EPRT's argument, `<d>proto<d>address<d>port<d>` (RFC 2428 section 2). Lenient: the last delimiter may be
/// missing. An IPv4-mapped IPv6 address is given as IPv4. Zone identifiers are refused.
///
/// # Errors
/// [`ArgError::Protocol`] for a protocol other than 1 and 2, else [`ArgError::Syntax`].
pub fn parse_eprt(argument: &[u8], mode: Mode) -> Result<SocketAddr, ArgError> {
    let (&delimiter, rest) = trim_blanks(argument).split_first().ok_or(ArgError::Syntax)?;
    if !is_delimiter(delimiter) {
        return Err(ArgError::Syntax);
    }
    let mut fields = rest.split(|&b| b == delimiter);
    let mut field = || fields.next().ok_or(ArgError::Syntax);
    let (proto, address, port) = (field()?, field()?, field()?);
    match (fields.next(), fields.next()) {
        (Some([]), None) => {}
        (None, _) if mode == Mode::Lenient => {}
        _ => return Err(ArgError::Syntax),
    }
    let proto = decimal(proto, 5).ok_or(ArgError::Syntax)?;
    if !matches!(proto, 1 | 2) {
        return Err(ArgError::Protocol);
    }
    let port = nonzero(port_number(port).ok_or(ArgError::Syntax)?)?;
    let text = core::str::from_utf8(address).map_err(|_| ArgError::Syntax)?;
    let address = if proto == 1 {
        IpAddr::V4(text.parse().map_err(|_| ArgError::Syntax)?)
    } else {
        IpAddr::V6(text.parse().map_err(|_| ArgError::Syntax)?).to_canonical()
    };
    Ok(SocketAddr::new(address, port))
}

/// EPSV's argument.
///
/// # Errors
/// [`ArgError::Protocol`] for another number, [`ArgError::Syntax`] for other text.
pub fn parse_epsv(argument: &[u8]) -> Result<EpsvArg, ArgError> {
    match trim_blanks(argument) {
        b"" => Ok(EpsvArg::Same),
        b"1" => Ok(EpsvArg::V4),
        b"2" => Ok(EpsvArg::V6),
        text if text.eq_ignore_ascii_case(b"ALL") => Ok(EpsvArg::All),
        text if text.iter().all(u8::is_ascii_digit) => Err(ArgError::Protocol),
        _ => Err(ArgError::Syntax),
    }
}

/// LPRT's argument, `af,hal,h…,pal,p…` (RFC 1639): af 4 with 4 address bytes, af 6 with 16; 2 port bytes.
///
/// # Errors
/// [`ArgError::Family`] for another af, else [`ArgError::Syntax`].
pub fn parse_lprt(argument: &[u8]) -> Result<SocketAddr, ArgError> {
    let argument = trim_blanks(argument);
    let family = argument.split(|&b| b == b',').next().and_then(|f| decimal(f, 3));
    match family {
        Some(4) => {
            let mut fields = [0; 9];
            octets(argument, &mut fields)?;
            let [_, 4, a, b, c, d, 2, hi, lo] = fields else { return Err(ArgError::Syntax) };
            let port = nonzero(u16::from_be_bytes([hi, lo]))?;
            Ok(SocketAddr::new(IpAddr::from([a, b, c, d]), port))
        }
        Some(6) => {
            let mut fields = [0; 21];
            octets(argument, &mut fields)?;
            let [_, 16, address @ .., 2, hi, lo] = fields else { return Err(ArgError::Syntax) };
            let address: [u8; 16] = address;
            let port = nonzero(u16::from_be_bytes([hi, lo]))?;
            Ok(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(address)).to_canonical(), port))
        }
        Some(_) => Err(ArgError::Family),
        None => Err(ArgError::Syntax),
    }
}

/// What a reply to PASV, EPSV or LPSV announces. `lines` are the texts of its lines without codes; the last
/// is asked first, then the others in order. The code decides the form, not the question: servers answer
/// EPSV with 227 and PASV with 229.
///
/// # Errors
/// [`PassiveError`].
pub fn parse_passive<'a>(
    code: u16,
    lines: impl DoubleEndedIterator<Item = &'a [u8]>,
    mode: Mode,
) -> Result<Announced, PassiveError> {
    let find = |text: &[u8]| match code {
        227 => find_227(text).map(|(a, _)| Announced { port: a.port(), address: Some(IpAddr::V4(*a.ip())) }),
        228 => find_228(text).map(|a| Announced { port: a.port(), address: Some(a.ip()) }),
        _ => find_229(text, mode).map(|port| Announced { port, address: None }),
    };
    if !matches!(code, 227..=229) {
        return Err(PassiveError::Code);
    }
    match last_first(lines).find_map(find) {
        None => Err(PassiveError::Missing),
        Some(Announced { port: 0, .. }) => Err(PassiveError::ZeroPort),
        Some(announced) => Ok(announced),
    }
}

/// Appends `227 Entering Passive Mode (a,b,c,d,p,q).` and CR LF, the form that every parser knows.
pub fn write_227(out: &mut Vec<u8>, at: SocketAddrV4) {
    out.extend_from_slice(b"227 Entering Passive Mode (");
    write_six(out, at);
    out.extend_from_slice(b").\r\n");
}

/// Appends `229 Entering Extended Passive Mode (|||p|)` and CR LF.
pub fn write_229(out: &mut Vec<u8>, port: u16) {
    push(out, format_args!("229 Entering Extended Passive Mode (|||{port}|)\r\n"));
}

/// Appends `228 Entering Long Passive Mode (af,hal,h…,pal,p…)` and CR LF (RFC 1639).
pub fn write_228(out: &mut Vec<u8>, at: SocketAddr) {
    out.extend_from_slice(b"228 Entering Long Passive Mode (");
    write_long(out, at);
    out.extend_from_slice(b")\r\n");
}

/// Whether a 227's text names `at` as every parser finds it: in parentheses, nothing else between, and no digit in
/// front, where RFC 1123 section 4.1.2.6 lets a client begin.
#[must_use]
pub fn is_plain_227(text: &[u8], at: SocketAddrV4) -> bool {
    let mut form = b"(".to_vec();
    write_six(&mut form, at);
    form.push(b')');
    let digit = text.iter().position(u8::is_ascii_digit);
    let begin = digit.and_then(|at| text.get(at.checked_sub(1)?..));
    begin.is_some_and(|t| t.starts_with(&form))
}

/// Whether a 229's text has `port` in RFC 2428's form, without an address.
#[must_use]
pub fn is_plain_229(text: &[u8], port: u16) -> bool {
    let digits = port.to_string();
    let form = |after: &[u8]| {
        let [a, b, c, rest @ ..] = after else { return false };
        let rest = rest.strip_prefix(digits.as_bytes());
        is_delimiter(*a) && a == b && b == c && rest.is_some_and(|r| r.starts_with(&[*a, b')']))
    };
    let opens = text.iter().enumerate().filter(|&(_, &b)| b == b'(');
    opens.map(|(at, _)| text.get(at + 1..).unwrap_or_default()).any(form)
}

/// What stands behind the last number of a 227's address and port on their line, parentheses and all. The lines
/// are [`parse_passive`]'s.
#[must_use]
pub fn behind_227<'a>(lines: impl DoubleEndedIterator<Item = &'a [u8]>) -> &'a [u8] {
    last_first(lines).find_map(find_227).map_or(&[], |(_, behind)| behind)
}

/// What stands behind the last number of PORT's, EPRT's or LPRT's argument.
#[must_use]
pub fn behind_port(argument: &[u8]) -> &[u8] {
    let end = argument.iter().rposition(u8::is_ascii_digit).map_or(0, |at| at + 1);
    argument.get(end..).unwrap_or_default()
}

/// Appends a LPRT command with CR LF (RFC 1639).
pub fn write_lprt(out: &mut Vec<u8>, at: SocketAddr) {
    out.extend_from_slice(b"LPRT ");
    write_long(out, at);
    out.extend_from_slice(b"\r\n");
}

/// Appends a PORT command with CR LF.
pub fn write_port(out: &mut Vec<u8>, at: SocketAddrV4) {
    out.extend_from_slice(b"PORT ");
    write_six(out, at);
    out.extend_from_slice(b"\r\n");
}

/// Appends an EPRT command with CR LF.
pub fn write_eprt(out: &mut Vec<u8>, at: SocketAddr) {
    let proto = if at.is_ipv4() { 1 } else { 2 };
    push(out, format_args!("EPRT |{proto}|{}|{}|\r\n", at.ip(), at.port()));
}

/// The first run of exactly six numbers 0–255 with commas between (blanks around a comma allowed). A run
/// of another length is not searched inside: which six would be meant? And what follows it.
fn find_227(text: &[u8]) -> Option<(SocketAddrV4, &[u8])> {
    let mut rest = text;
    loop {
        let start = rest.iter().position(u8::is_ascii_digit)?;
        rest = rest.get(start..)?;
        let mut fields = [0; 6];
        let (count, after) = take_numbers(rest, &mut fields);
        if let (6, [a, b, c, d, hi, lo]) = (count, fields) {
            let at = SocketAddrV4::new(Ipv4Addr::new(a, b, c, d), u16::from_be_bytes([hi, lo]));
            return Some((at, after));
        }
        rest = after;
    }
}

/// In the order in which a reply's lines are asked.
fn last_first<'a>(lines: impl DoubleEndedIterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    let mut lines = lines;
    lines.next_back().into_iter().chain(lines)
}

/// Reads `n, n, n…`; gives how many there were (`usize::MAX` if one was no octet) and what follows them.
fn take_numbers<'a>(text: &'a [u8], fields: &mut [u8]) -> (usize, &'a [u8]) {
    let (mut count, mut rest) = (0usize, text);
    loop {
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let (number, after) = rest.split_at(digits);
        match (octet(number), fields.get_mut(count)) {
            (Some(value), Some(field)) => {
                *field = value;
                count += 1;
            }
            (Some(_), None) if count != usize::MAX => count = fields.len() + 1,
            _ => count = usize::MAX,
        }
        rest = after;
        let Some(next) = skip_blanks(after).strip_prefix(b",") else { return (count, rest) };
        let next = skip_blanks(next);
        if !next.first().is_some_and(u8::is_ascii_digit) {
            return (count, rest);
        }
        rest = next;
    }
}

/// LPSV's answer: a run in parentheses, as RFC 1639 has it.
fn find_228(text: &[u8]) -> Option<SocketAddr> {
    let open = text.iter().position(|&b| b == b'(')?;
    let inner = text.get(open + 1..)?;
    let close = inner.iter().position(|&b| b == b')')?;
    parse_lprt(inner.get(..close)?).ok()
}

/// The port of `(<d><d><d>port<d>)`. An address in the third field is ignored. Lenient: a delimiter too few,
/// if there is one number and nothing else.
fn find_229(text: &[u8], mode: Mode) -> Option<u16> {
    let opens = text.iter().enumerate().filter(|&(_, &b)| b == b'(');
    opens.map(|(at, _)| text.get(at + 1..).unwrap_or_default()).find_map(|after| extended_port(after, mode))
}

/// The port of one such form; `text` begins after its `(`.
fn extended_port(text: &[u8], mode: Mode) -> Option<u16> {
    // The longest address and port fit well into this; more would make a line of `(` costly.
    let text = text.get(..80).unwrap_or(text);
    let (&delimiter, rest) = text.split_first()?;
    if !is_delimiter(delimiter) || delimiter == b')' {
        return None;
    }
    let inner = rest.get(..rest.iter().position(|&b| b == b')')?)?;
    let fields = || inner.split(|&b| b == delimiter);
    let mut five = fields();
    if let (Some(_), Some(_), Some(port), Some([]), None) =
        (five.next(), five.next(), five.next(), five.next(), five.next())
    {
        return port_number(port);
    }
    let mut filled = fields().map(trim_blanks).filter(|f| !f.is_empty());
    match (filled.next(), filled.next()) {
        (Some(port), None) if mode == Mode::Lenient => port_number(port),
        _ => None,
    }
}

/// Exactly as many octets as there are fields, with commas between and nothing else.
fn octets(text: &[u8], fields: &mut [u8]) -> Result<(), ArgError> {
    let mut parts = text.split(|&b| b == b',');
    for field in fields {
        *field = parts.next().and_then(octet).ok_or(ArgError::Syntax)?;
    }
    if parts.next().is_some() { Err(ArgError::Syntax) } else { Ok(()) }
}

/// 1 to 3 decimal digits (never octal), at most 255.
fn octet(text: &[u8]) -> Option<u8> {
    decimal(text, 3).and_then(|n| u8::try_from(n).ok())
}

/// 1 to 5 decimal digits, at most 65535.
fn port_number(text: &[u8]) -> Option<u16> {
    decimal(text, 5).and_then(|n| u16::try_from(n).ok())
}

/// 1 to `most` (at most 9) decimal digits.
fn decimal(text: &[u8], most: usize) -> Option<u32> {
    let fits = (1..=most).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    fits.then(|| text.iter().fold(0, |n, &b| n * 10 + u32::from(b - b'0')))
}

fn nonzero(port: u16) -> Result<u16, ArgError> {
    if port == 0 { Err(ArgError::Syntax) } else { Ok(port) }
}

/// A byte that cannot be part of a number or an address.
const fn is_delimiter(byte: u8) -> bool {
    byte.is_ascii_graphic()
        && !byte.is_ascii_alphanumeric()
        && !matches!(byte, b'.' | b':')
        && !is_blank(byte)
}

fn write_six(out: &mut Vec<u8>, at: SocketAddrV4) {
    let ([a, b, c, d], [hi, lo]) = (at.ip().octets(), at.port().to_be_bytes());
    push(out, format_args!("{a},{b},{c},{d},{hi},{lo}"));
}

fn write_long(out: &mut Vec<u8>, at: SocketAddr) {
    let [hi, lo] = at.port().to_be_bytes();
    let host = |out: &mut Vec<u8>, bytes: &[u8]| bytes.iter().for_each(|b| push(out, format_args!("{b},")));
    match at.ip() {
        IpAddr::V4(ip) => {
            push(out, format_args!("4,4,"));
            host(out, &ip.octets());
        }
        IpAddr::V6(ip) => {
            push(out, format_args!("6,16,"));
            host(out, &ip.octets());
        }
    }
    push(out, format_args!("2,{hi},{lo}"));
}

fn push(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to a Vec cannot fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let at = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 51210);
        let mut out = Vec::new();
        write_port(&mut out, at);
        assert_eq!(out, b"PORT 198,51,100,7,200,10\r\n");
        out.clear();
        write_227(&mut out, at);
        assert_eq!(out, b"227 Entering Passive Mode (198,51,100,7,200,10).\r\n");
        assert_eq!(find_227(&out[4..]), Some((at, &b").\r\n"[..])));
        out.clear();
        write_229(&mut out, 51210);
        assert_eq!(out, b"229 Entering Extended Passive Mode (|||51210|)\r\n");
        assert_eq!(find_229(&out[4..], Mode::Strict), Some(51210));
        for (at, want) in [
            ("10.0.0.5:5001", "EPRT |1|10.0.0.5|5001|\r\n"),
            ("[2001:db8::1]:5001", "EPRT |2|2001:db8::1|5001|\r\n"),
        ] {
            let at: SocketAddr = at.parse().unwrap();
            out.clear();
            write_eprt(&mut out, at);
            assert_eq!(out, want.as_bytes());
            assert_eq!(parse_eprt(&out[5..out.len() - 2], Mode::Strict), Ok(at));
        }
    }

    #[test]
    fn tuples_of_another_length_are_no_tuple() {
        for text in [
            &b"1,2,3,4,5"[..],
            b"1,2,3,4,5,6,7",
            b"1,2,3,4,5,256",
            b"1,2,3,4,5,1000",
            b"1,2,,3,4,5,6",
            b"1,2,3,4,5,6,7,8,9,10,11,12,13",
        ] {
            assert_eq!(find_227(text), None, "{}", String::from_utf8_lossy(text));
        }
        assert!(
            find_227(b"1,2 files. 1,2,3,4,5,6, 7 x (10,0,0,1,2,3)").is_some_and(|(a, _)| a.port() == 515)
        );
    }

    #[test]
    fn long_forms() {
        assert_eq!(parse_lprt(b"4,4,10,0,0,5,2,19,137"), Ok("10.0.0.5:5001".parse().unwrap()));
        let six = b"6,16,32,1,13,184,0,0,0,0,0,0,0,0,0,0,0,1,2,19,137";
        assert_eq!(parse_lprt(six), Ok("[2001:db8::1]:5001".parse().unwrap()));
        assert_eq!(parse_lprt(b"5,4,10,0,0,5,2,19,137"), Err(ArgError::Family));
        for bad in
            [&b"4,16,10,0,0,5,2,19,137"[..], b"4,4,10,0,0,5,3,19,137", b"4,4,10,0,0,5,2,0,0", b"4", b""]
        {
            assert_eq!(parse_lprt(bad), Err(ArgError::Syntax));
        }
        let lines = || [&b"Entering Long Passive Mode (4,4,10,0,0,5,2,19,137)"[..]].into_iter();
        assert_eq!(parse_passive(228, lines(), Mode::Lenient).map(|a| a.port), Ok(5001));
        assert_eq!(parse_passive(200, lines(), Mode::Lenient), Err(PassiveError::Code));
    }

    #[test]
    fn long_forms_are_written_as_they_are_read() {
        for at in ["10.0.0.5:5001", "[2001:db8::1]:5001"] {
            let at: SocketAddr = at.parse().unwrap();
            let mut out = Vec::new();
            write_lprt(&mut out, at);
            assert_eq!(parse_lprt(&out[5..out.len() - 2]), Ok(at));
            out.clear();
            write_228(&mut out, at);
            assert_eq!(find_228(&out), Some(at));
        }
    }

    #[test]
    fn plain_forms() {
        let at = SocketAddrV4::new(Ipv4Addr::new(198, 51, 100, 7), 51210);
        for plain in ["Entering Passive Mode (198,51,100,7,200,10).", "x(198,51,100,7,200,10)"] {
            assert!(is_plain_227(plain.as_bytes(), at));
        }
        for odd in [
            "198,51,100,7,200,10",
            "(198, 51,100,7,200,10)",
            "(198,51,100,7,200,010)",
            "(=198,51",
            "v2 (198,51,100,7,200,10)",
        ] {
            assert!(!is_plain_227(odd.as_bytes(), at), "{odd}");
        }
        let lines = [&b"(198,51,100,7,200,10) hello 1"[..], b"no numbers"];
        assert_eq!(behind_227(lines.into_iter()), b") hello 1");
        assert_eq!(behind_port(b"10,0,0,5,19,137  "), b"  ");
        for plain in ["Ext (|||51210|)", "(!!!51210!).", "() (|||51210|)"] {
            assert!(is_plain_229(plain.as_bytes(), 51210), "{plain}");
        }
        for odd in ["(||51210|)", "(|1|10.9.9.9|51210|)", "(|||051210|)", "(|||51210)", "(||", "(|||5121|)"] {
            assert!(!is_plain_229(odd.as_bytes(), 51210), "{odd}");
        }
    }

    #[test]
    fn delimiters_that_occur_in_addresses_are_refused() {
        for d in [b'.', b':', b'1', b'a', b'g', b' ', 0x7f, 0x80] {
            let text: Vec<u8> = b"|2|::1|5001|".iter().map(|&b| if b == b'|' { d } else { b }).collect();
            assert_eq!(parse_eprt(&text, Mode::Lenient), Err(ArgError::Syntax));
        }
        assert_eq!(parse_eprt(b"|2|fe80::1%eth0|5001|", Mode::Lenient), Err(ArgError::Syntax));
        assert_eq!(parse_eprt(b"|1|10.0.0.5|5001||", Mode::Lenient), Err(ArgError::Syntax));
    }

    #[test]
    fn ports() {
        for refused in [1, 22, 1023, 3306, 5905, 6000, 8080] {
            assert_eq!(check_port(refused, DEFAULT_DENIED_PORTS), Err(ArgError::Port));
        }
        for fine in [1024, 2020, 5001, 51210, 65535] {
            assert_eq!(check_port(fine, DEFAULT_DENIED_PORTS), Ok(()));
        }
    }
}
