//! What the packets of a data connection show.

use super::super::Spot;
use super::super::conn::Connection;
use super::super::stream::{Flow, Repeat};
use super::{Case, Finding, PATIENCE, SYN_PATIENCE};
use crate::wire::icmp::{TOO_BIG_V4, TOO_BIG_V6};

/// Segments at least so large may be too large for a path.
const LARGE: u32 = 500;

impl Case<'_> {
    /// What is wrong with the data connection, if there is one and something is.
    pub(super) fn data_fault(&self) -> Option<Finding> {
        let data = self.data?;
        if data.established.is_some() { self.broken(data) } else { self.not_opened(data) }
    }

    fn not_opened(&self, data: &Connection) -> Option<Finding> {
        let (from, to) = (data.a, data.b);
        let syn = *data.syns.first().unwrap_or(&data.first);
        let who = if from.ip() == self.client().ip() { "client" } else { "server" };
        let text_first = self.text_fault().filter(|_| self.explains_silence(data));
        if let Some((rst, false)) = data.rst.filter(|(_, by_a)| !by_a) {
            return Some(text_first.unwrap_or_else(|| {
                self.finding(
                    "syn_reset",
                    format!(
                        "{to} answered the {who}'s SYN ({}) with RST ({}): nobody listens there, or a firewall refuses",
                        self.at(syn),
                        self.at(rst)
                    ),
                    vec![syn, rst],
                )
            }));
        }
        if let Some(complaint) = data.complaint {
            let (kind, code) = complaint.what.kind;
            return Some(self.finding(
                "data_unreachable",
                format!(
                    "{} answered the {who}'s SYN to {to} ({}) with ICMP type {kind} code {code} ({}): {}",
                    complaint.what.from,
                    self.at(syn),
                    self.at(complaint.spot),
                    icmp_words(complaint.what.v6, (kind, code))
                ),
                vec![syn, complaint.spot],
            ));
        }
        if let Some(answer) = data.syn_ack {
            let again = data.syn_ack_count > 1 || data.syn_count > 1;
            return (again || self.waited(data.first.at, SYN_PATIENCE)).then(|| {
                self.finding(
                    "syn_ack_lost",
                    format!(
                        "{to} answered the {who}'s SYN ({}, answer in {}) but the answer never reached {from}: packets \
                         of this direction are lost behind the point of capture",
                        self.at(syn),
                        self.at(answer)
                    ),
                    vec![syn, answer],
                )
            });
        }
        if data.syn_count == 0 {
            // Something stray with these numbers; it shows nothing.
            return None;
        }
        let given_up = self.transfer.is_some_and(|t| t.done.is_some());
        if data.syn_count < 3 && !given_up && !self.waited(data.first.at, SYN_PATIENCE) {
            return Some(self.too_short(data.first));
        }
        if let Some(fault) = text_first {
            return Some(fault);
        }
        if self.session.auth_before(syn).is_some() {
            return Some(self.auth_hid_port(data, syn));
        }
        let more = data.syn_count.saturating_sub(1);
        let again = match more {
            0 => String::new(),
            1 => ", sent twice".into(),
            n => format!(", sent {} times", n + 1),
        };
        let end = if who == "client" { "client to server" } else { "server to client" };
        let mut spots = data.syns.clone();
        spots.extend(self.setup.and_then(|s| s.answered).filter(|a| a.order < syn.order));
        spots.sort_by_key(|s| s.order);
        Some(self.finding(
            "syn_dropped",
            format!(
                "the {who}'s SYN to the announced {to} ({}{again}) was never answered: a firewall or a route between drops \
                 it on the way from {end}, or the answer on its way back",
                self.at(syn)
            ),
            spots,
        ))
    }

    /// Whether what the texts say wrong is why this SYN was in vain: it followed the wrong text.
    fn explains_silence(&self, data: &Connection) -> bool {
        self.setup.is_some_and(|s| s.address.is_none_or(|a| a == data.b.ip()))
    }

    fn broken(&self, data: &Connection) -> Option<Finding> {
        let reply = self.transfer.and_then(|t| t.done.as_ref());
        let too_big =
            data.complaint.filter(|c| c.what.kind == if c.what.v6 { TOO_BIG_V6 } else { TOO_BIG_V4 });
        let stuck = data.flows.iter().enumerate().find_map(|(side, f)| stuck(f).map(|r| (side, f, r)));
        // Who closes with something unread resets, as TLS's last words are; what is encrypted has no reply that tells.
        let taken = |rst: Spot, by_a| {
            self.guessed && data.flows[usize::from(by_a)].fin.is_some_and(|fin| fin.order < rst.order)
        };
        if let Some((rst, by_a)) = data.rst
            && reply.is_none_or(|r| rst.order < r.spot.order)
            && !data.flows.iter().all(Flow::fin_acked)
            && !taken(rst, by_a)
        {
            // Whoever gives up after minutes of silence resets as well: then the silence is the cause.
            if let Some((side, flow, repeat)) = stuck {
                return Some(self.stalled(data, side, flow, repeat, too_big.map(|c| c.what.mtu)));
            }
            let (who, by) = if by_a { (data.a, data.b) } else { (data.b, data.a) };
            let role = if who.ip() == self.client().ip() { "client" } else { "server" };
            let bytes: u64 = data.flows.iter().map(|f| f.bytes).sum();
            return Some(self.finding(
                "data_reset",
                format!(
                    "the data connection was reset in the middle, after {bytes} bytes, by a RST from the {role}'s address \
                     {who} to {by} ({})",
                    self.at(rst)
                ),
                vec![data.first, rst],
            ));
        }
        let failing = reply.is_some();
        for (side, flow) in data.flows.iter().enumerate() {
            if let Some(since) = flow.closed_window
                && (failing || self.waited(since.at, PATIENCE))
            {
                let end = if side == 0 { data.a } else { data.b };
                let role = if end.ip() == self.client().ip() { "client" } else { "server" };
                return Some(self.finding(
                    "zero_window",
                    format!(
                        "the {role} {end} closed its receive window ({}) and never opened it again: its program stopped \
                         reading",
                        self.at(since)
                    ),
                    vec![since, data.last],
                ));
            }
        }
        if let Some((side, flow, repeat)) = stuck
            && (failing || self.waited(repeat.first.at, SYN_PATIENCE))
        {
            return Some(self.stalled(data, side, flow, repeat, too_big.map(|c| c.what.mtu)));
        }
        None
    }

    fn stalled(
        &self,
        data: &Connection,
        side: usize,
        flow: &Flow,
        repeat: Repeat,
        mtu: Option<u32>,
    ) -> Finding {
        let (from, to) = if side == 0 { (data.a, data.b) } else { (data.b, data.a) };
        let mut spots = vec![repeat.first, repeat.last];
        spots.dedup();
        let times = repeat.times;
        if mtu.is_some() || (repeat.len >= LARGE && flow.largest_acked < repeat.len) {
            let said = match (mtu, data.complaint) {
                (Some(mtu), Some(c)) => {
                    spots.push(c.spot);
                    format!(
                        "{} says that at most {mtu} bytes pass ({}), and {from} does not heed it",
                        c.what.from,
                        self.at(c.spot)
                    )
                }
                _ => "no ICMP \"too big\" came".to_owned(),
            };
            return self.finding(
                "mtu_black_hole",
                format!(
                    "segments of {} bytes from {from} to {to} never arrive ({}, sent again {times} times until {}), while \
                     smaller packets do: the path's MTU is smaller, and {said}",
                    repeat.len,
                    self.at(repeat.first),
                    self.at(repeat.last)
                ),
                spots,
            );
        }
        self.finding(
            "data_stalled",
            format!(
                "{to} stopped answering in the middle of the transfer: {from} sent the same segment again {times} times ({} \
                 to {})",
                self.at(repeat.first),
                self.at(repeat.last)
            ),
            spots,
        )
    }

    /// The capture goes on for so long after this.
    pub(super) fn waited(&self, since: u64, nanos: u64) -> bool {
        self.end.at.saturating_sub(since) >= nanos
    }
}

/// A segment that was sent again and again, and is not acknowledged at the end.
fn stuck(flow: &Flow) -> Option<Repeat> {
    flow.repeat.filter(|r| r.times >= 2 && flow.unacked() > 0)
}

fn icmp_words(v6: bool, kind: (u8, u8)) -> &'static str {
    match (v6, kind) {
        (false, (3, 9 | 10 | 13)) | (true, (1, 1 | 5)) => "a filter forbids it",
        (false, (3, 3)) | (true, (1, 4)) => "nobody listens there",
        (false, (3, _)) | (true, (1, _)) => "there is no way to this address",
        (false, (11, _)) | (true, (3, _)) => "the packet went in circles",
        _ => "it cannot be delivered",
    }
}
