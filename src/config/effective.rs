//! The effective configuration: every key with the value in use, as TOML or JSON. The TOML is itself a
//! configuration that means the same (an inline password excepted, which is not shown).

mod firewall;
mod service;

use super::check::Uses;
use super::checked::{Config, EventTarget, GroupRole, Interface, Method, Mode, NicProfileName, Side, Wccp};
use super::units::show_duration;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::net::Ipv4Addr;

/// One line: key, value, and a comment that may be empty. A key that begins with `#` is shown as a comment
/// and is not in the JSON form.
type Entry = (&'static str, Value, String);

struct Block {
    name: &'static str,
    many: bool,
    entries: Vec<Entry>,
}

impl Config {
    /// The effective configuration as TOML with comments; notes stand at the top.
    pub fn effective_toml(&self) -> String {
        self.toml(false)
    }

    fn toml(&self, secrets: bool) -> String {
        let mut out = format!("# effective configuration of {}\n", self.file.display());
        for note in &self.notes {
            let _ = writeln!(out, "# note: {note}");
        }
        out.push_str("version = 1\n");
        for block in self.blocks(secrets) {
            let (open, close) = if block.many { ("[[", "]]") } else { ("[", "]") };
            let _ = writeln!(out, "\n{open}{}{close}", block.name);
            for (key, value, comment) in block.entries {
                let mut line = format!("{key} = {}", toml_value(&value));
                if !comment.is_empty() {
                    let _ = write!(
                        line,
                        "{:pad$}# {comment}",
                        "",
                        pad = 37usize.saturating_sub(line.len()).max(1)
                    );
                }
                out.push_str(&line);
                out.push('\n');
            }
        }
        out
    }

    /// The configuration for a recording: as [`effective_toml`](Self::effective_toml), but with the seed in
    /// use and the password itself, and without paths of this host. Whoever reads it knows the password.
    pub fn recorded_toml(&self, seed: [u8; 16]) -> String {
        let mut config = self.clone();
        config.file = "config.toml".into();
        config.notes.clear();
        config.worker.seed = Some(seed);
        config.events = EventTarget::Stdout;
        config.interface.nic_profile = NicProfileName::Generic;
        if let Some(outside) = &mut config.outside {
            outside.nic_profile = NicProfileName::Generic;
        }
        config.toml(true)
    }

    /// The effective configuration as JSON: the same keys and values, plus `notes`.
    pub fn effective_json(&self) -> Value {
        let mut root = Map::new();
        root.insert("version".into(), json!(1));
        root.insert("notes".into(), json!(self.notes));
        for block in self.blocks(false) {
            let entries = block.entries.into_iter().filter(|(key, ..)| !key.starts_with('#'));
            let table: Map<String, Value> = entries.map(|(k, v, _)| (k.to_owned(), v)).collect();
            let (parent, leaf) = match block.name.split_once('.') {
                Some((parent, leaf)) => {
                    let parent = root.entry(parent).or_insert_with(|| json!({}));
                    (parent.as_object_mut(), leaf)
                }
                None => (Some(&mut root), block.name),
            };
            let Some(parent) = parent else { continue };
            if block.many {
                let list = parent.entry(leaf).or_insert_with(|| json!([]));
                if let Some(list) = list.as_array_mut() {
                    list.push(Value::Object(table));
                }
            } else {
                parent.insert(leaf.to_owned(), Value::Object(table));
            }
        }
        Value::Object(root)
    }

    fn blocks(&self, secrets: bool) -> Vec<Block> {
        let mut blocks = vec![one("deployment", vec![plain("kind", self.deployment.name())])];
        for (i, side) in self.interfaces().zip([Side::Inside, Side::Outside]) {
            blocks.push(interface_block(i, self.deployment.in_line().then_some(side)));
        }
        for r in self.interfaces().flat_map(|i| &i.routes) {
            let (network, via) = (r.network.to_string(), r.via.to_string());
            blocks.push(many("route", vec![plain("network", network), plain("via", via)]));
        }
        blocks.extend(self.wccp.as_ref().map(|w| wccp_block(w, secrets)));
        for g in self.wccp.iter().flat_map(|w| &w.groups) {
            blocks.push(many(
                "wccp.group",
                vec![
                    plain("id", g.id),
                    match g.role {
                        GroupRole::Forward => {
                            noted("role", "forward", "destination ports, hashed on the client's address")
                        }
                        GroupRole::Reverse => {
                            noted("role", "reverse", "source ports, hashed on the client's address")
                        }
                    },
                    noted("priority", g.priority, "routers try higher ones first"),
                    plain("ports", if g.ports.is_empty() { json!("all") } else { json!(g.ports) }),
                ],
            ));
        }
        blocks.extend(self.firewall.iter().flat_map(firewall::firewall));
        blocks.extend(firewall::nat(&self.nat));
        blocks
            .extend(self.services.iter().map(|s| service::proxied(s, auto_clamp(self.redirect_overhead()))));
        let redirected = !self.deployment.in_line();
        let auto = auto_clamp(self.return_overhead());
        blocks.extend(self.inspected.iter().map(|s| service::inspected(s, redirected, auto)));
        blocks.extend([self.limits_block(), self.timers_block(), self.worker_block()]);
        let path = match &self.events {
            EventTarget::Stdout => noted("path", "-", "standard output"),
            EventTarget::File(path) => plain("path", path.to_string_lossy().as_ref()),
        };
        blocks.push(one("events", vec![path]));
        blocks
    }

    fn limits_block(&self) -> Block {
        let l = &self.limits;
        self.used(
            "limits",
            vec![
                plain("sessions", l.sessions),
                noted("half_open", l.half_open, "in all; the oldest makes room"),
                noted("half_open_per_source", l.half_open_per_source, "of one /24 or /64"),
                noted("per_client", l.per_client, "sessions of one IPv4 address or IPv6 /64"),
                noted("over_limit", l.over_limit.name(), "what becomes of a client beyond these"),
                noted("flows", l.flows, "connections in the flow table"),
                noted("line", l.line, "bytes"),
                noted("reply", l.reply, "bytes, all lines of one reply"),
                noted("commands", l.commands, "of one session, not answered yet"),
                noted("relay_buffer", l.relay_buffer, "bytes"),
                noted("relay_buffers", l.relay_buffers, "relayed transfers at a time"),
                noted("relays_per_client", l.relays_per_client, "of one IPv4 address or IPv6 /64"),
                noted("expectations", l.expectations, "announced data connections"),
                noted(
                    "expectations_per_client",
                    l.expectations_per_client,
                    "of one IPv4 address or IPv6 /64",
                ),
                noted("connections", l.connections, "that pass and are not in the flow table"),
            ],
        )
    }

    fn timers_block(&self) -> Block {
        let t = &self.timers;
        let timer = |key, d, comment| noted(key, show_duration(d), comment);
        self.used(
            "timers",
            vec![
                timer("connect", t.connect, "to the server"),
                timer("greeting", t.greeting, "of the server"),
                timer("first_command", t.first_command, "of the client, after the greeting"),
                timer("login", t.login, ""),
                timer("control_idle", t.control_idle, "not while data flows"),
                timer("data_stall", t.data_stall, "no byte either way"),
                timer("data_wait", t.data_wait, "announced, no SYN yet"),
                timer("final_reply", t.final_reply, "after the end of the data"),
                timer("steer_timeout", t.steer_timeout, "steered, no SYN yet"),
                timer("steer_wait", t.steer_wait, "for a free data port, then 425"),
                timer("quarantine", t.quarantine, "of a data port whose SYN never came"),
                timer("time_wait", t.time_wait, ""),
                timer("drain_timeout", t.drain_timeout, "after SIGTERM"),
                timer("expectation", t.expectation, "announced, no SYN yet"),
                timer("established", t.established, "TCP that passes, without a segment"),
                timer("transitory", t.transitory, "TCP that begins or ends"),
                timer("udp", t.udp, "UDP that passes"),
                timer("icmp", t.icmp, "ICMP queries that pass"),
                timer("orphan", t.orphan, "data after a reset of its control connection"),
            ],
        )
    }

    /// A section of bounds or times, without those of services that there are none of.
    fn used(&self, name: &'static str, mut entries: Vec<Entry>) -> Block {
        let (proxied, inspected) = (!self.services.is_empty(), !self.inspected.is_empty());
        let steered = proxied || self.inspected.iter().any(|s| !s.data_ports.is_empty());
        let uses = Uses { proxied, inspected, steered };
        entries.retain(|(key, ..)| uses.has(&format!("{name}.{key}")));
        one(name, entries)
    }

    fn worker_block(&self) -> Block {
        let w = &self.worker;
        let cpu = match w.cpu {
            Some(cpu) => plain("cpu", json!([cpu])),
            None => noted("# cpu", json!([]), "the last core that the process may use"),
        };
        let seed = match w.seed {
            Some(seed) => plain("seed", format!("{:032x}", u128::from_be_bytes(seed))),
            None => noted("# seed", "", "a fresh random one each start"),
        };
        one("worker", vec![cpu, plain("idle", w.idle.name()), seed])
    }
}

fn auto_clamp(overhead: u16) -> &'static str {
    if overhead == 0 { "MTU - 40" } else { "MTU - 28 - 40" }
}

/// `role`: of a bridge or route.
fn interface_block(i: &Interface, role: Option<Side>) -> Block {
    let profile = match &i.nic_profile {
        NicProfileName::Generic => "generic".into(),
        NicProfileName::Veth => "veth".into(),
        NicProfileName::File(path) => path.to_string_lossy(),
    };
    let addresses: Vec<String> = i.addresses().iter().map(|(a, prefix)| format!("{a}/{prefix}")).collect();
    let hops: Vec<String> = i.next_hops().iter().map(ToString::to_string).collect();
    let mode = match i.mode {
        Mode::Dedicated => "every frame of the interface is taken",
        Mode::Shared => "what is not for us is the host's",
    };
    let mut entries = vec![plain("name", i.name.as_str())];
    entries.extend(role.map(|r| plain("role", r.name())));
    entries.extend([plain("driver", i.driver.name()), noted("mode", i.mode.name(), mode)]);
    entries.extend(i.vlan.as_ref().map(|ids| noted("vlan", json!(ids), "our frames' tags, outer first")));
    if !addresses.is_empty() {
        entries.push(noted("address", json!(addresses), "ours, never the kernel's"));
    }
    match hops.as_slice() {
        [] => {}
        [one] => entries.push(plain("next_hop", one.as_str())),
        all => entries.push(plain("next_hop", json!(all))),
    }
    entries.push(plain("nic_profile", profile.as_ref()));
    many("interface", entries)
}

fn wccp_block(w: &Wccp, secrets: bool) -> Block {
    let texts = |list: &[Ipv4Addr]| list.iter().map(Ipv4Addr::to_string).collect::<Vec<_>>();
    let mut entries = vec![plain("routers", json!(texts(&w.routers)))];
    match &w.password {
        Some(p) if secrets => {
            let text = String::from_utf8_lossy(p.as_bytes());
            entries.push(noted("password", text.as_ref(), "a secret"));
        }
        Some(p) => match &p.file {
            Some(file) => entries.push(plain("password_file", file.to_string_lossy().as_ref())),
            None => entries.push(noted("# password", "", "set, not shown")),
        },
        None => entries.push(noted("# password", "", "none: messages are not authenticated")),
    }
    let names = |list: &[Method]| json!(list.iter().map(|m| m.name()).collect::<Vec<_>>());
    let assignment: Vec<_> = w.assignment.iter().map(|a| a.name()).collect();
    entries.extend([
        noted("forward", names(&w.forward), "in order of preference"),
        noted("return", names(&w.return_method), "in order of preference"),
        noted("assignment", json!(assignment), "in order of preference"),
    ]);
    if let Some(mask) = w.mask {
        let values = 1u32 << mask.count_ones();
        entries.push(noted("mask", mask, &format!("{mask:#x}: {values} values of the client's address")));
    }
    entries.push(plain("here_i_am", show_duration(w.here_i_am)));
    one("wccp", entries)
}

fn one(name: &'static str, entries: Vec<Entry>) -> Block {
    Block { name, many: false, entries }
}

fn many(name: &'static str, entries: Vec<Entry>) -> Block {
    Block { name, many: true, entries }
}

fn plain(key: &'static str, value: impl Into<Value>) -> Entry {
    (key, value.into(), String::new())
}

fn noted(key: &'static str, value: impl Into<Value>, comment: &str) -> Entry {
    (key, value.into(), comment.to_owned())
}

/// The toml crate writes strings and lists with the escapes that TOML wants, which are not quite JSON's.
fn toml_value(value: &Value) -> String {
    toml::Value::try_from(value).map_or_else(|_| String::new(), |v| v.to_string())
}
