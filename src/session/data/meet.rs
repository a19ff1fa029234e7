//! Relays that take connections: both ends open one, and each SYN is answered when it comes.

use super::super::control::{CLIENT_DATA, Control, SERVER_DATA};
use super::super::shared::{Shared, reset};
use super::relay::{Client, Relay, buffers};
use super::{ClientEnd, Data, Plan, ServerEnd, Side};
use crate::flow::FlowKey;
use crate::tcp::{Handshake, Outlet};
use crate::wire::tcp::{Segment, SynOptions};

impl Control {
    /// Both open: the first SYN of the two has come.
    pub(super) fn relay_meets(
        &mut self,
        shared: &mut Shared,
        plan: Plan,
        side: Side,
        seg: &Segment,
        options: SynOptions,
        out: &mut dyn Outlet,
    ) {
        let (
            ClientEnd::Opens { announced, key: client_key, until: client_until, lease },
            ServerEnd::Opens { ours, key, until },
        ) = (plan.client, plan.server)
        else {
            return;
        };
        if let Err(why) = shared.relay_take(self.client.ip()) {
            self.data_drop(shared, "refused", why);
            return reset(seg, out);
        }
        let mut relay = Relay::new(&plan, ours, announced, shared.now);
        relay.announced = lease;
        relay.direction = self.transfer.as_ref().and_then(|t| t.verb.direction());
        relay.client_awaited = Some((client_key, client_until));
        relay.server_awaited = Some((key, until));
        if self.transfer.is_none() {
            shared.unasked.push_back(self.id);
        }
        shared.counters.relayed += 1;
        self.data = Data::Relay(Box::new(relay));
        self.relay_join(shared, side, seg, options, out);
    }

    /// A SYN that a relay waited for: it is answered, by a stack.
    pub(super) fn relay_join(
        &mut self,
        shared: &mut Shared,
        side: Side,
        seg: &Segment,
        options: SynOptions,
        out: &mut dyn Outlet,
    ) {
        let clamp = match side {
            Side::Client => shared.settings.services[self.service].mss_clamp,
            Side::Server => shared.upstream_clamp(self.service),
        };
        let Data::Relay(relay) = &mut self.data else { return reset(seg, out) };
        let (conn, leg) = match side {
            Side::Client => (CLIENT_DATA, shared.client_leg(seg.dst)),
            Side::Server => (SERVER_DATA, shared.upstream_leg(self.service)),
        };
        let handshake = Handshake {
            peer_isn: seg.seq,
            peer_window: seg.window,
            peer_options: options,
            own_isn: shared.isn(seg.dst, seg.src),
        };
        let buffers = buffers(shared, side, relay.direction);
        let key = FlowKey::tcp(seg.src, seg.dst, leg, 0);
        let place = key.and_then(|key| {
            let entry = shared.session_entry(&key, conn.0, self.index);
            Some((shared.claim(&key, &entry)?, key))
        });
        let taken = place.is_some()
            && self.stack.accept(shared.now, conn, seg.dst, seg.src, buffers, &handshake, clamp, out);
        if !taken {
            if let Some((slot, _)) = place {
                shared.table.remove(slot);
            }
            relay.ended = Some((shared.now, "failed"));
            relay.state = if side == Side::Client { Client::Failed } else { relay.state };
            self.relay_expects_no_more(shared);
            self.stack.abort(CLIENT_DATA);
            self.stack.abort(SERVER_DATA);
            return reset(seg, out);
        }
        self.stack.set_timeout(conn, shared.settings.timers.data_stall);
        relay.progress = shared.now;
        match side {
            Side::Client => {
                relay.client_awaited = None;
                relay.client_place = place;
                relay.state = Client::Opening(shared.now + shared.settings.timers.connect);
            }
            Side::Server => {
                relay.server_awaited = None;
                relay.server_place = place;
                relay.remote = seg.src;
            }
        }
        if relay.client_awaited.is_none() && relay.server_awaited.is_none() {
            let (client, remote) = (relay.client, relay.remote);
            self.expectation(shared, "used", client, Some(remote), "");
        }
    }

    /// A transfer's verb was sent while its data connection is half there: only now will the server come.
    pub(super) fn relay_begins(&mut self, shared: &mut Shared) {
        let Data::Relay(relay) = &mut self.data else { return };
        shared.relay_asked(self.id);
        if relay.direction.is_none() {
            relay.direction = self.transfer.as_ref().and_then(|t| t.verb.direction());
        }
        if let Some((key, until)) = &mut relay.server_awaited {
            *until = shared.expect_longer(key, *until);
        }
    }

    pub(super) fn relay_expects_no_more(&mut self, shared: &mut Shared) {
        let Data::Relay(relay) = &mut self.data else { return };
        let client = relay.client_awaited.take();
        let server = relay.server_awaited.take();
        for (key, _) in client.into_iter().chain(server) {
            shared.expectations.remove(&key);
        }
        if client.is_some() {
            shared.steering[self.service].withdraw(self.pair(), self.id, shared.now);
        }
    }

    /// Others want the place of a relay that nothing was asked of.
    pub(in crate::session) fn relay_outdone(&mut self, shared: &mut Shared) {
        let Data::Relay(relay) = &mut self.data else { return };
        relay.ended.get_or_insert((shared.now, "failed"));
        let (client, named) = (relay.client, relay.ours.end);
        self.relay_expects_no_more(shared);
        self.stack.abort(CLIENT_DATA);
        self.stack.abort(SERVER_DATA);
        let why = "no transfer was asked for in time, and others want the place of this relay";
        self.expectation(shared, "expired", client, Some(named), why);
    }

    /// The client's time for its SYN is up.
    pub(super) fn relay_steered_out(&mut self, shared: &mut Shared, ours: bool) {
        if ours && let Data::Relay(relay) = &mut self.data {
            relay.state = Client::Failed;
            let (client, remote) = (relay.client, relay.remote);
            self.relay_expects_no_more(shared);
            let why = "no SYN came; is the port in the router's redirect list?";
            self.expectation(shared, "expired", client, Some(remote), why);
        }
    }

    /// Ends the wait for a side whose time for its SYN is up. True if something happened.
    pub(super) fn relay_expire(&mut self, shared: &mut Shared) -> bool {
        let Data::Relay(relay) = &mut self.data else { return false };
        if matches!(relay.client_awaited, Some((_, until)) if shared.now >= until) {
            self.relay_steered_out(shared, true);
            return true;
        }
        if matches!(relay.server_awaited, Some((_, until)) if shared.now >= until) {
            relay.ended.get_or_insert((shared.now, "failed"));
            let (client, named) = (relay.client, relay.ours.end);
            self.relay_expects_no_more(shared);
            self.stack.abort(CLIENT_DATA);
            let why = self.absent_server(shared, named);
            self.expectation(shared, "expired", client, Some(named), &why);
            if self.transfer_failed(shared, &why)
                && let Some(transfer) = &mut self.transfer
            {
                // That is the end of it, whatever the server will say.
                transfer.code = Some(425);
            }
            return true;
        }
        false
    }
}
