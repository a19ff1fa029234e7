//! The SYNs of announced data connections, and what they become.

use super::super::control::Control;
use super::super::registry::SynVerdict;
use super::super::settings::DataSource;
use super::super::shared::{Shared, reset};
use super::flow::{Ends, Opening};
use super::{ClientEnd, Data, Plan, Ready, ServerEnd, Side, TABLE_FULL};
use crate::flow::Leg;
use crate::tcp::Outlet;
use crate::wire::tcp::{Segment, SynOptions};
use std::net::{IpAddr, SocketAddr};

/// Data connections of one session that may live at a time. Of an honest client one does, and a few more that
/// it is slow to close; each that nobody closes would keep its place for `data_stall`.
const LIVE_FLOWS: usize = 16;

impl Control {
    /// A SYN that was expected of this side, and is no more.
    pub(in crate::session) fn data_syn(
        &mut self,
        shared: &mut Shared,
        side: Side,
        seg: &Segment,
        options: SynOptions,
        out: &mut dyn Outlet,
    ) -> SynVerdict {
        if side == Side::Client {
            let pair = self.pair();
            shared.steering[self.service].syn(pair, seg.dst.port(), shared.now);
        }
        let plan = match &self.data {
            Data::Ready(Ready(plan)) => *plan,
            Data::Relay(_) => {
                self.relay_join(shared, side, seg, options, out);
                return SynVerdict::Taken;
            }
            // Before it was told that it may: there is nobody to connect it to.
            _ => {
                reset(seg, out);
                return SynVerdict::Taken;
            }
        };
        if self.flows_full(shared) {
            shared.counters.flows_refused += 1;
            self.data_drop(shared, "refused", "the session has too many live data connections");
            reset(seg, out);
            return SynVerdict::Taken;
        }
        let opened = match (plan.client, plan.server) {
            (ClientEnd::Opens { announced, lease, .. }, ServerEnd::Listens { remote, ours }) => {
                let ends = Ends {
                    client: seg.src,
                    via: announced,
                    ours: ours.map_or(seg.src, |lease| lease.end),
                    remote,
                };
                self.flow_begins(shared, Opening { ends, opener: side, leases: [ours, lease] })
            }
            (ClientEnd::Listens(client), ServerEnd::Opens { ours, .. }) => {
                self.flow_to_client(shared, client, seg.src, plan, ours.end)
            }
            (ClientEnd::Opens { .. }, ServerEnd::Opens { .. }) => {
                self.relay_meets(shared, plan, side, seg, options, out);
                return SynVerdict::Taken;
            }
            (ClientEnd::Listens(_), ServerEnd::Listens { .. }) => false,
        };
        if opened {
            self.expectation(shared, "used", plan.client_shown(), Some(plan.server.shown()), "");
            return SynVerdict::Forward;
        }
        self.data_drop(shared, "refused", TABLE_FULL);
        reset(seg, out);
        SynVerdict::Taken
    }

    /// The server's SYN goes on to a client that listens, as the server, from the first of our ports that is
    /// free toward it.
    fn flow_to_client(
        &mut self,
        shared: &mut Shared,
        client: SocketAddr,
        remote: SocketAddr,
        plan: Plan,
        ours: SocketAddr,
    ) -> bool {
        let ServerEnd::Opens { ours: lease, .. } = plan.server else { return false };
        let Some(from) = self.active_source(shared, client.ip()) else { return false };
        for port in self.active_ports(shared) {
            let ends = Ends { client, via: SocketAddr::new(from, port), ours, remote };
            if self.flow_begins(shared, Opening { ends, opener: Side::Server, leases: [Some(lease), None] }) {
                return true;
            }
        }
        false
    }

    /// The ports that data connections toward active clients leave from, in order of preference.
    pub(super) fn active_ports(&self, shared: &Shared) -> Vec<u16> {
        let service = &shared.settings.services[self.service];
        let first = service.active_source_port;
        std::iter::once(first).chain(service.data_ports.iter().copied().filter(|&p| p != first)).collect()
    }

    /// The address that they leave from.
    pub(super) fn active_source(&self, shared: &Shared, client: IpAddr) -> Option<IpAddr> {
        match shared.settings.services[self.service].data_source {
            DataSource::Own => shared.settings.own.for_peer(client),
            DataSource::Server => Some(self.server.ip()),
        }
    }

    /// Whether as many of this session's data connections live as may.
    fn flows_full(&mut self, shared: &mut Shared) -> bool {
        self.flows.retain(|&id| {
            shared.flow_look(id, None);
            shared.flow_moves(id, self.id)
        });
        self.flows.len() >= LIVE_FLOWS
    }

    fn flow_begins(&mut self, shared: &mut Shared, opening: Opening) -> bool {
        let Some(id) = shared.flow_open(self.id, self.service, self.pair(), opening) else { return false };
        self.data = Data::Flow(id);
        self.flows.push(id);
        let transfer = self.transfer.clone().filter(|t| t.code.is_none());
        shared.flow_transfer(id, transfer);
        true
    }
}

impl Shared {
    /// How a client's segments to `via` reach us: redirected, unless that is our own address.
    pub(super) fn client_leg(&self, via: SocketAddr) -> Leg {
        if self.settings.own.is(via.ip()) { Leg::Direct } else { Leg::Redirected }
    }
}
