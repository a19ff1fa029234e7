//! Captures made in code: what two hosts say, packet by packet.

use std::net::{IpAddr, SocketAddr};
use tidegate::explain::{Explainer, Frame, Report, Settings, report};
use tidegate::wire::tcp::{ACK, FIN, PSH, RST, SYN, SynOptions};
use tidegate::wire::{build, eth, icmp};

pub(crate) const CLIENT: &str = "203.0.113.9:40001";
pub(crate) const SERVER: &str = "198.51.100.7:21";

/// One frame, from behind its link header.
#[derive(Debug, Clone)]
pub(crate) struct Shot {
    pub(crate) at: u64,
    pub(crate) packet: Vec<u8>,
    pub(crate) missing: usize,
    pub(crate) file: u16,
}

/// A capture under way. Time goes on by 10 ms a frame.
#[derive(Debug, Clone)]
pub(crate) struct Tape {
    pub(crate) shots: Vec<Shot>,
    pub(crate) now: u64,
    id: u16,
}

/// A TCP connection on a tape.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wire {
    pub(crate) a: SocketAddr,
    pub(crate) b: SocketAddr,
    pub(crate) next: [u32; 2],
}

pub(crate) fn addr(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

impl Wire {
    pub(crate) fn new(a: &str, b: &str) -> Self {
        let (a, b) = (addr(a), addr(b));
        Self { a, b, next: [u32::from(a.port()) * 100_000, u32::MAX - u32::from(b.port())] }
    }
}

impl Tape {
    pub(crate) fn new() -> Self {
        Self { shots: Vec::new(), now: 1_700_000_000_000_000_000, id: 1 }
    }

    pub(crate) fn wait(&mut self, seconds: f64) {
        self.now += (seconds * 1e9) as u64;
    }

    /// Adds a packet; gives its frame number.
    pub(crate) fn packet(&mut self, packet: Vec<u8>) -> u64 {
        self.now += 10_000_000;
        self.shots.push(Shot { at: self.now, packet, missing: 0, file: 0 });
        self.shots.len() as u64
    }

    pub(crate) fn frames(&self) -> u64 {
        self.shots.len() as u64
    }

    /// A segment of `w` from its end `from` (0: a) at `seq`.
    pub(crate) fn segment(
        &mut self,
        w: &Wire,
        from: usize,
        seq: u32,
        flags: u8,
        window: u16,
        payload: &[u8],
    ) -> u64 {
        let (src, dst) = if from == 0 { (w.a, w.b) } else { (w.b, w.a) };
        self.id += 1;
        let mss = (flags & SYN != 0).then_some(1460);
        let head = build::Tcp {
            src,
            dst,
            seq,
            ack: if flags & ACK != 0 { w.next[1 - from] } else { 0 },
            flags,
            window,
            options: SynOptions { mss, ..SynOptions::default() },
            ttl: 64,
            ip_id: self.id,
        };
        let mut packet = vec![0; head.len() + payload.len()];
        let n = head.emit(&mut packet);
        packet[n..].copy_from_slice(payload);
        build::finish(&mut packet);
        self.packet(packet)
    }

    pub(crate) fn syn(&mut self, w: &Wire) -> u64 {
        self.segment(w, 0, w.next[0], SYN, 64_000, b"")
    }

    /// SYN, SYN-ACK, ACK; the number of the SYN.
    pub(crate) fn open(&mut self, w: &mut Wire) -> u64 {
        let n = self.syn(w);
        w.next[0] = w.next[0].wrapping_add(1);
        self.segment(w, 1, w.next[1], SYN | ACK, 64_000, b"");
        w.next[1] = w.next[1].wrapping_add(1);
        self.segment(w, 0, w.next[0], ACK, 64_000, b"");
        n
    }

    /// Payload from an end, and its acknowledgement; the number of the payload's frame.
    pub(crate) fn say(&mut self, w: &mut Wire, from: usize, text: impl AsRef<[u8]>) -> u64 {
        let n = self.send(w, from, text.as_ref());
        self.segment(w, 1 - from, w.next[1 - from], ACK, 64_000, b"");
        n
    }

    /// Payload that nobody acknowledges yet.
    pub(crate) fn send(&mut self, w: &mut Wire, from: usize, payload: &[u8]) -> u64 {
        let n = self.segment(w, from, w.next[from], PSH | ACK, 64_000, payload);
        w.next[from] = w.next[from].wrapping_add(payload.len() as u32);
        n
    }

    pub(crate) fn fin(&mut self, w: &mut Wire, from: usize) -> u64 {
        let n = self.segment(w, from, w.next[from], FIN | ACK, 64_000, b"");
        w.next[from] = w.next[from].wrapping_add(1);
        n
    }

    /// Both ends close.
    pub(crate) fn close(&mut self, w: &mut Wire, first: usize) {
        self.fin(w, first);
        self.fin(w, 1 - first);
        self.segment(w, first, w.next[first], ACK, 64_000, b"");
    }

    pub(crate) fn rst(&mut self, w: &Wire, from: usize) -> u64 {
        self.segment(w, from, w.next[from], RST | ACK, 0, b"")
    }

    /// An ICMP error of `from` about the frame `n`.
    pub(crate) fn icmp(&mut self, from: &str, kind: (u8, u8), rest: [u8; 4], n: u64) -> u64 {
        let about = self.shots[n as usize - 1].packet.clone();
        let to = IpAddr::from([about[12], about[13], about[14], about[15]]);
        let packet = icmp::error(from.parse().unwrap(), to, kind, rest, &about).unwrap();
        self.packet(packet)
    }

    /// A session's begin: the handshake, and the login; 11 or so frames.
    pub(crate) fn login(&mut self) -> Wire {
        self.login_of(CLIENT, SERVER)
    }

    pub(crate) fn login_of(&mut self, client: &str, server: &str) -> Wire {
        let mut w = Wire::new(client, server);
        self.open(&mut w);
        self.say(&mut w, 1, "220-Welcome\r\n220 ready\r\n");
        self.ask(&mut w, "USER me", "331 Password?");
        self.ask(&mut w, "PASS hunter2", "230 In.");
        w
    }

    /// A command and its reply, as (frame, frame).
    pub(crate) fn ask(&mut self, w: &mut Wire, command: &str, reply: &str) -> (u64, u64) {
        let a = self.say(w, 0, format!("{command}\r\n"));
        let b = self.say(w, 1, format!("{reply}\r\n"));
        (a, b)
    }

    /// A whole transfer: the setup must have been asked. 3000 bytes from `b`'s or `a`'s end.
    pub(crate) fn transfer(&mut self, control: &mut Wire, data: &mut Wire, sender: usize, verb: &str) {
        self.open(data);
        self.ask(control, verb, "150 Here it comes.");
        for _ in 0..3 {
            self.say(data, sender, [7; 1000]);
        }
        self.close(data, sender);
        self.say(control, 1, "226 Done.\r\n");
    }

    pub(crate) fn explain(&self) -> Report {
        explain(&self.shots, &["a.pcap"], &[21])
    }

    /// The one session's transfers, without announcements that came to nothing.
    pub(crate) fn transfers(&self) -> Vec<report::Transfer> {
        let report = self.explain();
        check(&report);
        assert!(!serde_json::to_string(&report).unwrap().contains("hunter2"));
        assert_eq!(report.sessions.len(), 1, "{report:#?}");
        report.sessions.into_iter().flat_map(|s| s.transfers).filter(|t| t.outcome != "unused").collect()
    }

    /// The one transfer's code, and that it has these frames among the cause's.
    #[track_caller]
    pub(crate) fn cause(&self, outcome: &str, code: &str, frames: &[u64]) -> report::Cause {
        let transfers = self.transfers();
        assert_eq!(transfers.len(), 1, "{transfers:#?}");
        let transfer = &transfers[0];
        let cause = transfer.cause.clone().unwrap_or_else(|| panic!("no cause: {transfer:#?}"));
        assert_eq!((transfer.outcome, cause.code.as_str()), (outcome, code), "{cause:#?}");
        let got: Vec<u64> = cause.frames.iter().map(|f| f.frame).collect();
        assert_eq!(got, frames, "{cause:#?}");
        for frame in frames {
            assert!(cause.filter.contains(&format!("frame.number == {frame}")), "{cause:#?}");
        }
        cause
    }
}

/// Frames of all files, by time.
pub(crate) fn explain(shots: &[Shot], names: &[&str], ports: &[u16]) -> Report {
    let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
    let mut numbers = vec![0; names.len()];
    let mut explainer = Explainer::new(Settings { names, ports: ports.to_vec(), show_secrets: false });
    for shot in shots {
        let number = &mut numbers[usize::from(shot.file)];
        *number += 1;
        let v6 = shot.packet.first().is_some_and(|b| b >> 4 == 6);
        explainer.frame(&Frame {
            file: shot.file,
            number: *number,
            interface: 0,
            at_nanos: shot.at,
            ethertype: if v6 { eth::TYPE_IPV6 } else { eth::TYPE_IPV4 },
            packet: &shot.packet,
            missing: shot.missing,
        });
    }
    explainer.finish()
}

/// What holds for every report.
pub(crate) fn check(report: &Report) {
    let mut failed = 0;
    for session in &report.sessions {
        let mut last = 0.0;
        for moment in &session.timeline {
            assert!(moment.seconds >= last, "by time: {moment:?}");
            last = moment.seconds;
            assert!(!moment.text.contains('\n') && !moment.text.contains('\x1b'), "{moment:?}");
        }
        for transfer in &session.transfers {
            failed += usize::from(transfer.outcome == "failed");
            let needs = matches!(transfer.outcome, "failed" | "unknown");
            assert_eq!(transfer.cause.is_some(), needs, "{transfer:#?}");
            if let Some(cause) = &transfer.cause {
                assert!(
                    !cause.filter.is_empty() && !cause.frames.is_empty() && !cause.text.is_empty(),
                    "{cause:?}"
                );
            }
        }
    }
    assert_eq!(report.failed, failed);
}
