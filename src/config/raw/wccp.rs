//! The section `[wccp]` and its groups.

use super::{PORTS, is_host, port};
use crate::config::checked::{Assignment, GroupRole, MAX_ROUTERS, Method};
use crate::config::reader::Choice::{self, Is};
use crate::config::reader::{At, Item, Place, Section};
use crate::time::Duration;
use std::net::Ipv4Addr;

pub(in crate::config) struct RawWccp {
    pub(in crate::config) routers: Vec<At<Ipv4Addr>>,
    pub(in crate::config) password: Option<At<String>>,
    pub(in crate::config) password_file: Option<At<String>>,
    /// In order of preference, as are the two lists that follow.
    pub(in crate::config) forward: Vec<Method>,
    pub(in crate::config) return_method: Vec<Method>,
    pub(in crate::config) assignment: Vec<Assignment>,
    pub(in crate::config) mask: Option<At<u32>>,
    pub(in crate::config) here_i_am: Duration,
    pub(in crate::config) groups: Vec<RawGroup>,
    pub(in crate::config) groups_place: Place,
}

pub(in crate::config) struct RawGroup {
    pub(in crate::config) id: Option<At<u8>>,
    pub(in crate::config) role: GroupRole,
    pub(in crate::config) priority: u8,
    pub(in crate::config) ports: Vec<At<u16>>,
    pub(in crate::config) ports_place: Place,
    /// Every port, written `"all"`.
    pub(in crate::config) all: bool,
}

fn ipv4(item: Item<'_, '_>) -> Option<Ipv4Addr> {
    let text = item.string("an IPv4 address, as \"10.9.0.1\"")?;
    match text.parse().ok().filter(|a: &Ipv4Addr| is_host((*a).into())) {
        None => item.wrong(format!("{text:?} is no host's IPv4 address"), "write it as \"10.9.0.1\""),
        a => a,
    }
}

pub(super) fn section(mut s: Section<'_, '_>) -> RawWccp {
    let remedy = "write the router's address, as routers = [\"10.9.0.1\"]";
    let routers = s.need("routers", remedy, |i| routers(&i)).unwrap_or_default();
    let password = s.take("password").and_then(|i| i.at(|i| i.string("a string of 1 to 8 characters")));
    let password_file = s.take("password_file").and_then(|i| i.at(|i| i.string("a path")));
    let both = [Method::Gre, Method::L2].map(|m| (m.name(), Is(m)));
    let forward = s.or("forward", vec![Method::Gre], |i| methods(&i, &both));
    let return_method = s.or("return", vec![Method::Gre], |i| methods(&i, &both));
    let ways = [Assignment::Hash, Assignment::Mask].map(|m| (m.name(), Is(m)));
    let assignment = s.or("assignment", vec![Assignment::Hash], |i| methods(&i, &ways));
    let mask = s.take("mask").and_then(|i| i.at(|i| i.number(1..=u64::from(u32::MAX))));
    let range = Duration::from_millis(100)..=Duration::from_secs(60);
    let here_i_am = s.or("here_i_am", Duration::from_secs(10), |i| i.duration(range));
    let groups_place = s.place_of("group");
    let groups =
        s.need("group", "add a [[wccp.group]] section with id and ports", Item::sections).unwrap_or_default();
    let groups = groups.into_iter().map(group).collect();
    s.finish();
    RawWccp {
        routers,
        password,
        password_file,
        forward,
        return_method,
        assignment,
        mask,
        here_i_am,
        groups,
        groups_place,
    }
}

fn routers(item: &Item<'_, '_>) -> Option<Vec<At<Ipv4Addr>>> {
    let routers = item.set("a list of addresses, as [\"10.9.0.1\"]", ipv4)?;
    if item.items("")?.is_empty() {
        return item.wrong("the list is empty", "write the router's address, as routers = [\"10.9.0.1\"]");
    }
    if let Some(more) = routers.get(MAX_ROUTERS) {
        let source = item.source();
        source.error(&more.place, "a group has at most 32 routers", "take the others out");
    }
    Some(routers)
}

/// A list of methods in order of preference.
fn methods<T: Copy + PartialEq>(item: &Item<'_, '_>, all: &[(&str, Choice<T>)]) -> Option<Vec<T>> {
    let first = all.first().map_or("", |choice| choice.0);
    let wanted = format!("a list, as [{first:?}]");
    let named = item.set(&wanted, |i| i.choice(all))?;
    if item.items(&wanted)?.is_empty() {
        return item.wrong("names no method", format!("write {wanted}"));
    }
    Some(named.into_iter().map(|method| method.value).collect())
}

fn group(mut s: Section<'_, '_>) -> RawGroup {
    let id = s.need("id", "write a service id from 51 to 255", |i| i.at(|i| i.number(51..=255)));
    let role = s.or("role", GroupRole::Forward, |i| {
        i.choice(&[GroupRole::Forward, GroupRole::Reverse].map(|r| (r.name(), Is(r))))
    });
    let priority = s.or("priority", 240, |i| i.number(0..=255));
    let mut ports_place = s.place_of("ports");
    let mut all = false;
    let ports = s.need("ports", "write the ports to redirect, as ports = [21]", |i| {
        ports_place = i.place.clone();
        all = i.is_string("all");
        if all && role == GroupRole::Forward {
            return i.wrong("\"all\" is for groups of role \"reverse\"", "list ports");
        }
        if all {
            return None;
        }
        let ports = i.set(PORTS, port)?;
        if i.items(PORTS)?.is_empty() {
            let remedy = match role {
                GroupRole::Forward => "write the ports to redirect, as ports = [21]",
                GroupRole::Reverse => "write the servers' ports, as ports = [21, 20], or ports = \"all\"",
            };
            return i.wrong("the list is empty", remedy);
        }
        Some(ports)
    });
    s.finish();
    RawGroup { id, role, priority, ports: ports.unwrap_or_default(), ports_place, all }
}
