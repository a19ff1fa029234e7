//! Data connections that no line announced: those that a static rule lets in, and those that are refused for a reason.

use super::super::packet::Side;
use super::super::settings::{Data, Service};
use super::data::DataConn;
use super::doors::Door;
use super::session::{Life, Mind, Session};
use super::{Admitted, Path, Sessions, Syn};
use crate::alg::rules::Profile;
use crate::flow::SteerSyn;
use crate::time::{Duration, Instant};
use crate::wire::within;
use std::net::{IpAddr, SocketAddr};

/// A session's refused data connections are told so often.
const TELL_AGAIN: Duration = Duration::from_secs(1);

impl<W: Copy> Sessions<W> {
    /// Takes the SYN of what `session` announced.
    pub(super) fn admit_expected(
        &mut self,
        now: Instant,
        number: u32,
        src: SocketAddr,
        dst: SocketAddr,
    ) -> Syn {
        let Some(session) = self.slots.get_mut(number) else { return Syn::Unknown };
        let Door::Open(announced) = &session.doors.door else { return Syn::Unknown };
        let announced = announced.clone();
        let Some(service) = self.shared.services.get(session.service) else { return Syn::Unknown };
        let ports = &service.active_source_ports;
        // Who was told no port connects from the default one (RFC 959 5.2).
        let default = announced.at == session.path.client && src.port() != session.path.active_port();
        if announced.active && (default || (!ports.is_empty() && !ports.contains(&src.port()))) {
            self.shared.counters.source_ports_refused += 1;
            let reason = format!("active data may not come from port {}", src.port());
            self.tell_refused(now, number, announced.shown(), &reason);
            return Syn::Refused;
        }
        let lender = announced.of.and_then(|offer| self.slots.get(offer.lender()));
        if lender.is_some_and(|lender| lender.bars && lender.path.server.ip() == announced.at.ip()) {
            self.shared.counters.encrypted_refused += 1;
            self.tell_refused(now, number, announced.shown(), "ccc required");
            return Syn::Refused;
        }
        let Some(session) = self.slots.get(number) else { return Syn::Unknown };
        if session.doors.datas.len() >= super::shared::DATA_PER_SESSION {
            self.shared.counters.data_refused += 1;
            self.tell_refused(now, number, announced.shown(), "the session has too many data connections");
            return Syn::Refused;
        }
        let (pair, active) = (session.path.pair(), announced.active);
        // Between a server and another there is no pair that a port is steered for.
        let leaving = (active && announced.of.is_none() && service.data_ports.contains(&src.port()))
            .then_some((pair, src.port()));
        let told_as = if active { session.path.server_told.ip() } else { session.path.client_told.ip() };
        let mut conn = DataConn::new(number, session.id, active, src.ip(), now);
        conn.leaving = leaving;
        conn.lease = announced.lease();
        let shown = announced.shown();
        let (to, side) = (announced.at, announced.to);
        let straight = announced.side == side;
        conn.announced = Some(announced);
        let data = self.take_in(number, conn);
        let Some(session) = self.slots.get_mut(number) else { return Syn::Unknown };
        session.doors.door = Door::Used(data);
        let (service, id) = (session.service, session.id);
        self.shared.withdraw_offer(session.path.client.ip(), number, &mut session.doors.offered);
        if self.shared.expected.remove_session(super::doors::name(number)) > 0 {
            self.shared.announced.give(session.path.client.ip());
        }
        if let Some(leaving) = leaving {
            *self.shared.leaving.entry(leaving).or_insert(0) += 1;
        }
        if !active && let Some(steering) = self.shared.steering.get_mut(service) {
            let _: SteerSyn = steering.syn(pair, dst.port(), now);
        }
        self.shared.expectation(now, id, "used", shown, "");
        // Where both ends are on one side they see each other as they are.
        let src_ip = if straight && dst == to { src.ip() } else { told_as };
        let one_way = self.is_strict(service);
        let src = SocketAddr::new(src_ip, src.port());
        Syn::Admitted(Admitted { src, dst: to, to: side, data, service, one_way, by_client: !active })
    }

    fn is_strict(&self, service: usize) -> bool {
        self.rule_sets.get(service).is_some_and(|r| r.profile == Profile::Strict)
    }

    /// A session's new data connection; what it was asked for becomes its.
    fn take_in(&mut self, number: u32, mut conn: DataConn) -> u32 {
        let Some(session) = self.slots.get_mut(number) else { return u32::MAX };
        let waits = session.doors.running.iter_mut().find(|r| r.data.is_none());
        if let Some(running) = &waits {
            conn.begins(&running.transfer);
        }
        let data = self.shared.datas.insert(conn);
        if let Some(running) = waits {
            running.data = Some(data);
        }
        session.doors.datas.push(data);
        session.doors.newest = Some(data);
        data
    }

    /// A SYN that was announced by nobody.
    pub(super) fn admit_static(&mut self, now: Instant, from: Side, src: SocketAddr, dst: SocketAddr) -> Syn {
        let mut chosen: Option<(u32, bool)> = None;
        for number in self.shared.sessions_of(src.ip(), dst.ip()) {
            let Some(session) = self.slots.get(number) else { continue };
            let path = &session.path;
            let passive = path.client.ip() == src.ip() && path.server_told.ip() == dst.ip();
            // A SYN alone is no session: anybody can send one, in any name.
            if !passive || path.client_side != from || session.is_over() || session.life == Life::Opening {
                continue;
            }
            // One that can be read has announced what it needs.
            let opaque = session.is_opaque();
            if chosen.is_none_or(|(_, before)| opaque && !before) {
                chosen = Some((number, opaque));
            }
        }
        let path = chosen.and_then(|(n, _)| self.slots.get(n)).map(|s| s.path);
        let fits = |rule: &&Data| rule.fits(dst, path.as_ref()) && (path.is_some() || !rule.needs_session);
        let Some(rule) = self.shared.rules.iter().find(fits) else { return Syn::Unknown };
        let name = rule.name.clone();
        let (Some((number, opaque)), Some(path)) = (chosen, path) else {
            self.shared.counters.static_admitted += 1;
            return Syn::Allowed;
        };
        let Some(session) = self.slots.get_mut(number) else { return Syn::Unknown };
        let to = SocketAddr::new(path.server.ip(), dst.port());
        if session.doors.datas.len() >= super::shared::DATA_PER_SESSION {
            self.shared.counters.data_refused += 1;
            let why = "the session has too many data connections";
            self.tell_refused(now, number, (dst, Some(to)), why);
            return Syn::Refused;
        }
        let mut conn = DataConn::new(number, session.id, false, src.ip(), now);
        conn.blind = opaque;
        let (id, service) = (session.id, session.service);
        let data = self.take_in(number, conn);
        self.shared.counters.static_admitted += 1;
        self.shared.data_event(now, id, "used", (dst, Some(to)), &format!("static rule {name}"));
        let src = SocketAddr::new(path.client_told.ip(), src.port());
        let one_way = self.is_strict(service) && !opaque;
        Syn::Admitted(Admitted {
            src,
            dst: to,
            to: path.server_side,
            data,
            service,
            one_way,
            by_client: true,
        })
    }

    /// The session that forbids a SYN, since it has to be clear again before any data passes between its ends. Ports below
    /// 1024 and control ports are of other services than transfers, but for what a static rule says of them, and for what
    /// comes from the port that active data comes from.
    pub(super) fn bars(&self, src: SocketAddr, dst: SocketAddr, reached: SocketAddr) -> Option<u32> {
        let number = self.shared.barred(src.ip(), reached.ip())?;
        let path = &self.slots.get(number)?.path;
        let control = |s: &Service| s.ports.contains(&dst.port()) || s.ports.contains(&reached.port());
        if self.shared.services.iter().any(control) {
            return None;
        }
        let data = reached.port() >= 1024
            || src == SocketAddr::new(path.server.ip(), path.active_port())
            || self.shared.rules.iter().any(|rule| rule.fits(dst, Some(path)));
        data.then_some(number)
    }

    /// Whether a SYN is for a port whose announcement has ended.
    pub(super) fn is_quarantined(&self, now: Instant, src: SocketAddr, dst: SocketAddr) -> bool {
        let pair = crate::flow::Pair { client: src.ip(), server: dst.ip() };
        self.shared.steering.iter().any(|s| s.is_quarantined(pair, dst.port(), now))
    }

    /// The policy refused a SYN: if it is between the ends of a session, tells why it was not expected.
    pub(super) fn explain_refusal(&mut self, now: Instant, src: SocketAddr, dst: SocketAddr) {
        let mut best: Option<(u32, bool)> = None;
        for number in self.shared.sessions_of(src.ip(), dst.ip()) {
            let Some(session) = self.slots.get(number).filter(|s| !s.is_over()) else { continue };
            let opaque = session.is_opaque();
            if best.is_none_or(|(_, before)| opaque && !before) {
                best = Some((number, opaque));
            }
        }
        if let Some((number, _)) = best {
            self.explain(now, number, src, dst);
        }
    }

    /// Tells why a SYN between the ends of a session does not pass.
    pub(super) fn explain(&mut self, now: Instant, number: u32, src: SocketAddr, dst: SocketAddr) {
        let Some(session) = self.slots.get(number) else { return };
        let passive = session.path.client.ip() == src.ip() && session.path.server_told.ip() == dst.ip();
        let ends = if passive {
            (dst, Some(SocketAddr::new(session.path.server.ip(), dst.port())))
        } else {
            (SocketAddr::new(session.path.client.ip(), dst.port()), Some(dst))
        };
        let reason = if session.bars {
            self.shared.counters.encrypted_refused += 1;
            "ccc required"
        } else if session.is_opaque() && is_encrypted(session) {
            self.shared.counters.encrypted_refused += 1;
            "control channel encrypted"
        } else {
            self.shared.counters.unannounced_refused += 1;
            "nothing is announced there"
        };
        self.tell_refused(now, number, ends, reason);
    }

    /// A data connection that was admitted finds no place.
    pub(in crate::firewall) fn no_place(&mut self, now: Instant, data: u32) {
        let Some(conn) = self.shared.datas.get(data) else { return };
        let (Some(number), Some(announced)) = (conn.session, &conn.announced) else { return };
        let shown = announced.shown();
        self.shared.counters.data_refused += 1;
        self.tell_refused(now, number, shown, "no place for its SYN");
    }

    /// Tells of a refused data connection, not too often for each session.
    fn tell_refused(
        &mut self,
        now: Instant,
        number: u32,
        ends: (SocketAddr, Option<SocketAddr>),
        reason: &str,
    ) {
        let Some(session) = self.slots.get_mut(number) else { return };
        if session.told.is_some_and(|at| now.since(at) < TELL_AGAIN) {
            return;
        }
        session.told = Some(now);
        self.shared.data_event(now, session.id, "refused", ends, reason);
    }
}

/// Signed segments are read well enough by a person, but not by us.
fn is_encrypted<W: Copy>(session: &Session<W>) -> bool {
    matches!(&session.mind, Mind::Rules(r) if r.is_opaque())
}

impl Data {
    /// Whether the rule is about a server and its port, by the name in the SYN or its own.
    fn fits(&self, dst: SocketAddr, path: Option<&Path>) -> bool {
        let names = |ip: IpAddr| self.servers.is_empty() || self.servers.iter().any(|net| within(ip, net));
        self.ports.iter().any(|p| p.contains(&dst.port()))
            && (names(dst.ip()) || path.is_some_and(|p| names(p.server.ip())))
    }
}
