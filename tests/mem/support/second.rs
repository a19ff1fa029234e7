//! A second router between the same networks: hosts may use either.

use super::way::Way;
use super::world::World;
use crate::outbox::Batch;
use crate::router::{LegConf, Oversize, Router};
use crate::wccp::assign::RedirectList;
use crate::wccp::codec::ServiceKey;
use crate::wccp::{Faults, GroupConf, Wccp};
use std::net::Ipv4Addr;
use tidegate::time::Duration;

/// Its address on the gateway's leg.
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 254);
/// Its MAC address there.
pub(crate) const MAC: [u8; 6] = [2, 0, 0, 0, 1, 2];

/// The second router, with what it sends.
pub(crate) struct Second {
    pub(crate) router: Router,
    batches: Vec<Batch>,
    /// A dead one takes nothing and says nothing.
    pub(crate) alive: bool,
}

/// An empty batch for each leg.
pub(super) fn batches() -> Vec<Batch> {
    (0..3).map(|_| Batch::new()).collect()
}

impl Second {
    pub(super) fn new(way: Way) -> Self {
        let leg = |n: u8, net: [u8; 3], exclude_in| LegConf {
            name: format!("leg{n}"),
            mac: [2, 0, 0, 0, 1, n],
            address: Ipv4Addr::new(net[0], net[1], net[2], 254),
            prefix: 24,
            v6: None,
            mtu: 1500,
            exclude_in,
        };
        let legs = vec![leg(0, [10, 0, 0], false), leg(1, [10, 1, 0], false), leg(2, [10, 9, 0], true)];
        let wccp = Wccp::new(vec![GroupConf {
            key: ServiceKey { kind: 1, id: 61 },
            password: Some(b"secret1".to_vec()),
            offer: way.only(),
            redirect_list: RedirectList::default(),
            redirect_in: vec![0],
            redirect_out: vec![],
            interval: Duration::from_secs(1),
            router_id: ADDRESS,
            faults: Faults::default(),
        }]);
        Self { router: Router::new(legs, wccp, Oversize::Fragment), batches: batches(), alive: true }
    }
}

impl World {
    /// Does something with the second router in the first one's place, if it is there and lives.
    pub(super) fn on_second<T: Default>(&mut self, f: impl FnOnce(&mut Self) -> T) -> T {
        let Some(mut second) = self.second.take_if(|s| s.alive) else { return T::default() };
        let swap = |w: &mut Self, s: &mut Second| {
            std::mem::swap(&mut w.router, &mut s.router);
            std::mem::swap(&mut w.batches, &mut s.batches);
        };
        swap(self, &mut second);
        let result = f(self);
        swap(self, &mut second);
        self.second = Some(second);
        result
    }
}
