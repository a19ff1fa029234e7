//! The client against a small router with a clock that only the test moves.

mod join;
mod mask;
mod refuse;
mod several;

use super::super::component::*;
use super::super::element::*;
use super::super::message::*;
use super::super::settings::{Assignment, DEFAULT_MASK, GroupSettings, Method, Role};
use super::*;

const OWN: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 2);
const ROUTER: Ipv4Addr = Ipv4Addr::new(10, 9, 0, 1);
/// What the router calls itself: not the address that it is reached at.
const ROUTER_ID: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const T: u64 = 10_000;

fn settings(routers: &[Ipv4Addr]) -> Settings {
    Settings {
        own_address: OWN,
        prefix: 24,
        routers: routers.to_vec(),
        password: Some(Password::new(b"secret1").unwrap()),
        forward: vec![Method::Gre],
        return_method: vec![Method::Gre],
        assignment: vec![Assignment::Hash],
        mask: DEFAULT_MASK,
        here_i_am: Duration::from_millis(T),
        groups: vec![GroupSettings {
            id: 61,
            role: Role::Forward,
            ports: vec![21, 20, 2020],
            priority: 240,
            protocol: 6,
        }],
    }
}

use super::super::Password;

fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// A cache as the test router knows it.
struct Known {
    address: Ipv4Addr,
    /// Receive ID of what it was sent last.
    told: u32,
    usable: bool,
    heard: u64,
    /// Never falls silent: a cache that the test plays itself.
    pinned: bool,
}

/// A router for one group, written from the protocol's description and not from the client.
struct Router {
    address: Ipv4Addr,
    id: Ipv4Addr,
    service: Service,
    password: Option<Password>,
    offers: Vec<Capability>,
    receive_id: u32,
    change: u32,
    key: AssignmentKey,
    table: HashTable,
    /// The mask assignment in force; a router that tells it does so by the Assignment Map.
    map: Vec<MaskValueSet>,
    tells_map: bool,
    caches: Vec<Known>,
    /// Takes everything and answers nothing.
    mute: bool,
    /// Answers SHUTDOWN, naming this cache.
    confirms: Option<Ipv4Addr>,
    /// Takes assignments.
    obeys: bool,
    /// Every message that came, with its time in milliseconds.
    log: Vec<(u64, Message)>,
}

impl Router {
    fn new(address: Ipv4Addr, id: Ipv4Addr, service: Service) -> Self {
        Self {
            address,
            id,
            service,
            password: Some(Password::new(b"secret1").unwrap()),
            offers: vec![Capability::Forward(1), Capability::Assignment(1), Capability::Return(1)],
            receive_id: 0,
            change: 1,
            key: AssignmentKey::NONE,
            table: HashTable::empty(),
            map: Vec::new(),
            tells_map: true,
            caches: Vec::new(),
            mute: false,
            confirms: Some(OWN),
            obeys: true,
            log: Vec::new(),
        }
    }

    fn add_cache(&mut self, address: Ipv4Addr) {
        self.caches.push(Known { address, told: 0, usable: true, heard: 0, pinned: true });
        self.change += 1;
    }

    fn remove_cache(&mut self, address: Ipv4Addr) {
        self.caches.retain(|cache| cache.address != address);
        self.change += 1;
    }

    fn take(&mut self, now: u64, payload: &[u8]) -> Option<Vec<u8>> {
        let message = parse(payload, self.password.as_ref()).ok()?;
        if *message.service() != self.service {
            return None;
        }
        self.log.push((now, message.clone()));
        let (before, change) = (self.caches.len(), self.change);
        self.caches.retain(|cache| cache.pinned || now - cache.heard < 3 * T);
        self.change = change + u32::from(self.caches.len() != before);
        if self.mute {
            return None;
        }
        match message {
            Message::HereIAm(message) => self.here_i_am(now, &message),
            Message::RedirectAssign(RedirectAssign { assignment, .. }) => {
                let (key, routers) = match &assignment {
                    Redirect::Info(info) => (info.key, &info.routers),
                    Redirect::Alternate(other) => (other.key, &other.routers),
                };
                let sender = self.caches.iter().find(|cache| cache.address == key.address)?;
                let router = RouterIdElement { router_id: self.id, receive_id: sender.told };
                if self.obeys && routers.contains(&RouterAssignment { router, change: self.change }) {
                    self.key = key;
                    match assignment {
                        Redirect::Info(info) => self.table = info.table,
                        Redirect::Alternate(other) => match other.body {
                            AlternateBody::Hash(table) => self.table = table,
                            AlternateBody::Mask(sets) => self.map = sets,
                        },
                    }
                }
                None
            }
            _ => None,
        }
    }

    fn here_i_am(&mut self, now: u64, message: &HereIAm) -> Option<Vec<u8>> {
        let address = message.identity.address;
        if message.commands.contains(&Command::Shutdown(address)) {
            let confirmed = self.confirms?;
            self.remove_cache(address);
            let mut answer = self.answer(address);
            answer.commands = vec![Command::ShutdownResponse(confirmed)];
            return Some(self.emit(answer));
        }
        let echoed = message.view.routers.iter().find(|router| router.router_id == self.id);
        match self.caches.iter_mut().find(|cache| cache.address == address) {
            None => {
                self.caches.push(Known { address, told: 0, usable: false, heard: now, pinned: false });
            }
            Some(known) => {
                match echoed {
                    Some(echo) if echo.receive_id != known.told => return None,
                    Some(_) if !known.usable => {
                        known.usable = true;
                        self.change += 1;
                    }
                    _ => {}
                }
                known.heard = now;
            }
        }
        let answer = self.answer(address);
        Some(self.emit(answer))
    }

    /// The next I_SEE_YOU for this cache.
    fn answer(&mut self, to: Ipv4Addr) -> ISeeYou {
        self.receive_id = self.receive_id.wrapping_add(1).max(1);
        if let Some(known) = self.caches.iter_mut().find(|cache| cache.address == to) {
            known.told = self.receive_id;
        }
        let identity = |cache: &Known| {
            let buckets = self.table.buckets_of(cache.address);
            CacheIdentity {
                address: cache.address,
                hash_revision: 0,
                historical: buckets.count() == 0,
                data: CacheData::Hash { buckets, weight: 10_000, status: 0 },
            }
        };
        ISeeYou {
            service: self.service,
            identity: RouterIdentity {
                router: RouterIdElement { router_id: self.id, receive_id: self.receive_id },
                sent_to: self.address,
                received_from: vec![to],
            },
            view: RouterView {
                change: self.change,
                key: self.key,
                routers: vec![],
                caches: self.caches.iter().filter(|cache| cache.usable).map(identity).collect(),
            },
            assignment: None,
            map: Some(self.map.clone()).filter(|map| self.tells_map && !map.is_empty()),
            capabilities: self.offers.clone(),
            commands: vec![],
        }
    }

    fn emit(&self, message: ISeeYou) -> Vec<u8> {
        Message::ISeeYou(message).emit(self.password.as_ref()).unwrap()
    }

    fn assignments(&self) -> Vec<(u64, &AssignmentInfo)> {
        let info = |entry: &'_ (u64, Message)| entry.0;
        let redirects = self.log.iter().filter_map(move |entry| match &entry.1 {
            Message::RedirectAssign(RedirectAssign { assignment: Redirect::Info(assignment), .. }) => {
                Some((info(entry), assignment))
            }
            _ => None,
        });
        redirects.collect()
    }

    fn mask_assignments(&self) -> Vec<(u64, &AlternateAssignment)> {
        let redirects = self.log.iter().filter_map(|entry| match &entry.1 {
            Message::RedirectAssign(RedirectAssign { assignment: Redirect::Alternate(other), .. }) => {
                Some((entry.0, other))
            }
            _ => None,
        });
        redirects.collect()
    }

    fn here_i_ams(&self) -> Vec<(u64, &HereIAm)> {
        let messages = self.log.iter().filter_map(|(time, message)| match message {
            Message::HereIAm(message) => Some((*time, message)),
            _ => None,
        });
        messages.collect()
    }
}

/// The client, its routers, and the time.
struct Lab {
    client: Client,
    routers: Vec<Router>,
    now: u64,
    events: Vec<Event>,
}

impl Lab {
    fn new() -> Self {
        Self::with(settings(&[ROUTER]), &[(ROUTER, ROUTER_ID)])
    }

    fn with(settings: Settings, routers: &[(Ipv4Addr, Ipv4Addr)]) -> Self {
        let services: Vec<Service> = settings.groups.iter().map(|group| group.service()).collect();
        let router = |&(address, id): &(Ipv4Addr, Ipv4Addr)| {
            services.iter().map(move |&service| Router::new(address, id, service)).collect::<Vec<_>>()
        };
        let routers = routers.iter().flat_map(router).collect();
        Self { client: Client::new(settings).unwrap(), routers, now: 0, events: Vec::new() }
    }

    /// A lab that has run until our cache was assigned its buckets.
    fn assigned() -> Self {
        let mut lab = Self::new();
        lab.run_until(21_000);
        assert_eq!(lab.state(), "assigned");
        lab.events.clear();
        lab
    }

    fn deliver(&mut self, payload: &[u8]) {
        self.client.handle_datagram(at(self.now), ROUTER, payload, &mut self.events);
        self.exchange();
    }

    fn exchange(&mut self) {
        while let Some(sent) = self.client.poll_transmit() {
            for router in self.routers.iter_mut().filter(|router| router.address == sent.to) {
                if let Some(answer) = router.take(self.now, &sent.payload) {
                    let from = router.address;
                    self.client.handle_datagram(at(self.now), from, &answer, &mut self.events);
                }
            }
        }
    }

    fn run_until(&mut self, end: u64) {
        let mut turns = 0;
        while let Some((due, _)) = self.client.poll_timeout().filter(|timer| timer.0 <= at(end)) {
            self.now = self.now.max(due.as_millis());
            self.client.handle_timeout(at(self.now), &mut self.events);
            self.exchange();
            turns += 1;
            assert!(turns < 100_000, "the client's timers do not advance");
        }
        self.now = end;
    }

    /// The client does not run; then it goes on.
    fn sleep(&mut self, millis: u64) {
        self.now += millis;
        self.client.handle_timeout(at(self.now), &mut self.events);
        self.exchange();
    }

    fn state(&self) -> &'static str {
        self.client.status().next().unwrap().state.name()
    }

    fn states(&self) -> Vec<(u64, &'static str)> {
        let states = self.events.iter().filter_map(|event| match &event.what {
            What::Wccp { state, .. } => Some((event.at.as_millis(), *state)),
            _ => None,
        });
        states.collect()
    }

    fn warnings(&self) -> Vec<(u64, &'static str)> {
        let warnings = self.events.iter().filter_map(|event| match &event.what {
            What::Warning { kind, .. } => Some((event.at.as_millis(), *kind)),
            _ => None,
        });
        warnings.collect()
    }

    fn counter(&self, name: &str) -> u64 {
        self.client.counters().find(|counter| counter.0 == name).unwrap().1
    }

    /// The next answer of the first router, changed.
    fn forged(&mut self, change: impl FnOnce(&mut ISeeYou)) -> Vec<u8> {
        let mut message = self.routers[0].answer(OWN);
        change(&mut message);
        self.routers[0].emit(message)
    }
}
