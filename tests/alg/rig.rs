//! A connection whose segments are made by hand. Positions count from the SYN: 1 is the first byte.

use crate::support::{ACK, PSH, SYN, Seg, Table};
use tidegate::alg::{Alg, Direction, Limits, Output, What};
use tidegate::time::Instant;

pub(crate) use Direction::{ToClient, ToServer};

pub(crate) struct Rig {
    pub(crate) alg: Alg,
    pub(crate) editor: Table,
    pub(crate) client: u32,
    pub(crate) server: u32,
    pub(crate) now: u64,
    pub(crate) notes: Vec<What>,
    pub(crate) window: u16,
    /// Options of the next segment.
    pub(crate) options: Vec<u8>,
}

/// What came out: where, position, acknowledged position, flags, payload, window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Got {
    pub(crate) dir: Direction,
    pub(crate) at: i64,
    pub(crate) ack: i64,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) urgent: u16,
    pub(crate) text: String,
    pub(crate) verbatim: bool,
    pub(crate) seg: Seg,
}

impl Rig {
    pub(crate) fn new(rules: &[(&str, &str)]) -> Self {
        Self::with((1000, 5000), 60_000, &[2, 4, 5, 180, 1, 1, 4, 2], Table::replace(rules))
    }

    pub(crate) fn with((client, server): (u32, u32), window: u16, options: &[u8], editor: Table) -> Self {
        let alg = Alg::new(Limits::default());
        let (notes, options) = (Vec::new(), options.to_vec());
        let mut rig = Self { alg, editor, client, server, now: 1, notes, window, options: options.clone() };
        let syn = rig.put(ToServer, 0, 0, SYN, b"");
        assert!(syn[0].verbatim && syn.len() == 1);
        rig.options = options;
        let answer = rig.put(ToClient, 0, 1, SYN | ACK, b"");
        assert!(answer[0].verbatim && answer.len() == 1);
        let third = rig.put(ToServer, 1, 1, ACK, b"");
        assert!(third[0].verbatim && third.len() == 1);
        rig
    }

    pub(crate) fn seg(&mut self, dir: Direction, at: i64, ack: i64, flags: u8, payload: &[u8]) -> Seg {
        let (own, other) =
            if dir == ToServer { (self.client, self.server) } else { (self.server, self.client) };
        Seg {
            seq: own.wrapping_add(at as u32),
            ack: if flags & ACK != 0 { other.wrapping_add(ack as u32) } else { 0 },
            flags,
            window: self.window,
            urgent: 0,
            options: std::mem::take(&mut self.options),
            payload: payload.to_vec(),
        }
    }

    pub(crate) fn put(&mut self, dir: Direction, at: i64, ack: i64, flags: u8, payload: &[u8]) -> Vec<Got> {
        let seg = self.seg(dir, at, ack, flags, payload);
        self.give(dir, &seg)
    }

    pub(crate) fn give(&mut self, dir: Direction, seg: &Seg) -> Vec<Got> {
        let mut out = Output::default();
        let now = Instant::from_millis(self.now);
        self.alg.segment(now, dir, &seg.incoming(), &mut self.editor, &mut out);
        self.read(out)
    }

    /// Moves on to the next deadline, and gives what it brings.
    pub(crate) fn wait(&mut self) -> Vec<Got> {
        let at = self.alg.next_deadline().expect("a deadline");
        self.now = at.as_millis();
        let mut out = Output::default();
        self.alg.timeout(at, &mut self.editor, &mut out);
        self.read(out)
    }

    fn read(&mut self, out: Output) -> Vec<Got> {
        self.notes.extend(out.notes.iter().map(|n| n.what));
        let rel = |seq: u32, isn: u32| i64::from(seq.wrapping_sub(isn) as i32);
        let got = |o: &tidegate::alg::Outgoing| {
            let (own, other) =
                if o.dir == ToServer { (self.client, self.server) } else { (self.server, self.client) };
            Got {
                dir: o.dir,
                at: rel(o.seq, own),
                ack: rel(o.ack, other),
                flags: o.flags,
                window: o.window,
                urgent: o.urgent,
                text: String::from_utf8_lossy(&o.payload).into_owned(),
                verbatim: o.verbatim,
                seg: Seg::of(o),
            }
        };
        out.segments.iter().map(got).collect()
    }

    /// Bytes from the client.
    pub(crate) fn up(&mut self, at: i64, text: &str) -> Vec<Got> {
        self.put(ToServer, at, 1, ACK | PSH, text.as_bytes())
    }

    /// Bytes from the server.
    pub(crate) fn down(&mut self, at: i64, ack: i64, text: &str) -> Vec<Got> {
        self.put(ToClient, at, ack, ACK | PSH, text.as_bytes())
    }

    /// An acknowledgement of the server's.
    pub(crate) fn acked(&mut self, ack: i64) -> Got {
        one(self.put(ToClient, 1, ack, ACK, b""))
    }
}

/// The only one.
#[track_caller]
pub(crate) fn one(got: Vec<Got>) -> Got {
    assert_eq!(got.len(), 1, "{got:#?}");
    got.into_iter().next().unwrap()
}

/// Only what goes to the server, position and text.
pub(crate) fn to_server(got: &[Got]) -> Vec<(i64, &str)> {
    got.iter().filter(|g| g.dir == ToServer).map(|g| (g.at, &g.text[..])).collect()
}

/// Only what goes to the client, position, acknowledgement and text.
pub(crate) fn to_client(got: &[Got]) -> Vec<(i64, i64, &str)> {
    got.iter().filter(|g| g.dir == ToClient).map(|g| (g.at, g.ack, &g.text[..])).collect()
}

/// 27 bytes.
pub(crate) const PORT: &str = "PORT 10,0,0,5,19,137,0,0,0\n";
/// 30 bytes, three more.
pub(crate) const LONGER: &str = "PORT 192,168,100,200,200,100\r\n";
/// 21 bytes, six fewer.
pub(crate) const SHORTER: &str = "PORT 1,1,1,1,19,137\r\n";
