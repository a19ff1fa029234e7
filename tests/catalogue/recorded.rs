//! Control connections out of captures: who said what, after having heard what.

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use tidegate::io::pcap::Reader;

/// One control connection as a capture has it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorded {
    pub(crate) name: String,
    pub(crate) ends: Option<(SocketAddr, SocketAddr)>,
    /// What was said, in order, by the client (true) or the server.
    pub(crate) talk: Vec<(bool, Vec<u8>)>,
    /// Where each direction's stream begins; which of it is here; what came early.
    first: [Option<u32>; 2],
    next: [u32; 2],
    early: [BTreeMap<u32, Vec<u8>>; 2],
}

impl Recorded {
    pub(crate) fn new(name: String, ends: (SocketAddr, SocketAddr), talk: Vec<(bool, Vec<u8>)>) -> Self {
        Self { name, ends: Some(ends), talk, ..Self::default() }
    }

    /// All that the client (true) or the server said.
    pub(crate) fn stream(&self, of_client: bool) -> Vec<u8> {
        self.talk.iter().filter(|t| t.0 == of_client).flat_map(|t| t.1.clone()).collect()
    }

    fn segment(&mut self, of_client: bool, seq: u32, syn: bool, payload: &[u8]) {
        let side = usize::from(of_client);
        if syn {
            self.first[side] = Some(seq.wrapping_add(1));
            return;
        }
        let Some(first) = self.first[side] else { return };
        let at = seq.wrapping_sub(first);
        if payload.is_empty() || at > 1 << 24 {
            return;
        }
        self.early[side].insert(at, payload.to_vec());
        while let Some((at, bytes)) = self.early[side].pop_first() {
            if at > self.next[side] {
                self.early[side].insert(at, bytes);
                return;
            }
            let new = bytes.get((self.next[side] - at) as usize..).unwrap_or_default();
            if !new.is_empty() {
                self.next[side] += new.len() as u32;
                self.talk.push((of_client, new.to_vec()));
            }
        }
    }
}

/// The control connections of captures, of which the whole is there from the SYN on.
pub(crate) fn sessions(files: &[&Path]) -> Vec<Recorded> {
    let mut records: Vec<_> = files
        .iter()
        .flat_map(|f| Reader::open(f).unwrap_or_else(|e| panic!("{e}")).map_while(Result::ok))
        .collect();
    records.sort_by_key(|r| r.at_nanos);
    let mut all: Vec<Recorded> = Vec::new();
    for record in &records {
        let Some(packet) = record.link.packet(&record.data) else { continue };
        if !matches!(packet.ethertype, 0x0800 | 0x86dd) || record.is_cut() {
            continue;
        }
        let Ok(sliced) = SlicedPacket::from_ip(packet.payload) else { continue };
        let (Some(net), Some(TransportSlice::Tcp(tcp))) = (&sliced.net, &sliced.transport) else { continue };
        let (src, dst): (IpAddr, IpAddr) = match net {
            NetSlice::Ipv4(v4) => (v4.header().source_addr().into(), v4.header().destination_addr().into()),
            NetSlice::Ipv6(v6) => (v6.header().source_addr().into(), v6.header().destination_addr().into()),
            NetSlice::Arp(_) => continue,
        };
        let src = SocketAddr::new(src, tcp.source_port());
        let dst = SocketAddr::new(dst, tcp.destination_port());
        if src.port() != 21 && dst.port() != 21 {
            continue;
        }
        let of_client = dst.port() == 21;
        let ends = if of_client { (src, dst) } else { (dst, src) };
        let begins = tcp.syn() && !tcp.ack();
        let known = all.iter().rposition(|s| s.ends == Some(ends));
        let again = known.is_some_and(|i| all[i].first[1] == Some(tcp.sequence_number().wrapping_add(1)));
        let place = match known {
            Some(i) if !begins || again => i,
            _ if begins => {
                let name = format!("{} {}", files[0].display(), ends.0);
                all.push(Recorded::new(name, ends, Vec::new()));
                all.len() - 1
            }
            _ => continue,
        };
        all[place].segment(of_client, tcp.sequence_number(), tcp.syn(), tcp.payload());
    }
    all.retain(|s| s.first.iter().all(Option::is_some) && !s.talk.is_empty());
    all.retain(|s| s.early.iter().all(BTreeMap::is_empty));
    all
}
