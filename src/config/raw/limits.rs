//! The sections `[limits]` and `[timers]`.

use crate::config::checked::{Limits, OverLimit, Timers};
use crate::config::reader::Choice::Is;
use crate::config::reader::Section;
use crate::time::Duration;

pub(super) fn limits(s: &mut Section<'_, '_>) -> Limits {
    let d = Limits::default();
    Limits {
        sessions: s.or("sessions", d.sessions, |i| i.number(1..=1_000_000)),
        half_open: s.or("half_open", d.half_open, |i| i.number(1..=1_000_000)),
        half_open_per_source: s
            .or("half_open_per_source", d.half_open_per_source, |i| i.number(1..=1_000_000)),
        per_client: s.or("per_client", d.per_client, |i| i.number(1..=1_000_000)),
        over_limit: s.or("over_limit", d.over_limit, |i| {
            i.choice(&[OverLimit::Return, OverLimit::Reset].map(|o| (o.name(), Is(o))))
        }),
        flows: s.or("flows", d.flows, |i| i.number(64..=16_777_216)),
        line: s.or("line", d.line, |i| i.size(512..=65_536)),
        reply: s.or("reply", d.reply, |i| i.size(4_096..=16 << 20)),
        commands: s.or("commands", d.commands, |i| i.number(1..=4_096)),
        relay_buffer: s.or("relay_buffer", d.relay_buffer, |i| i.size(16_384..=16 << 20)),
        relay_buffers: s.or("relay_buffers", d.relay_buffers, |i| i.number(2..=65_536)),
        relays_per_client: s.or("relays_per_client", d.relays_per_client, |i| i.number(1..=65_536)),
        expectations: s.or("expectations", d.expectations, |i| i.number(1..=1_000_000)),
        expectations_per_client: s
            .or("expectations_per_client", d.expectations_per_client, |i| i.number(1..=1_000_000)),
        connections: s.or("connections", d.connections, |i| i.number(64..=16_777_216)),
    }
}

pub(super) fn timers(s: &mut Section<'_, '_>) -> Timers {
    let d = Timers::default();
    let mut timer = |key, default, least| {
        s.or(key, default, |i| i.duration(Duration::from_millis(least)..=Duration::from_secs(86_400)))
    };
    Timers {
        connect: timer("connect", d.connect, 100),
        greeting: timer("greeting", d.greeting, 100),
        first_command: timer("first_command", d.first_command, 100),
        login: timer("login", d.login, 100),
        control_idle: timer("control_idle", d.control_idle, 100),
        data_stall: timer("data_stall", d.data_stall, 100),
        data_wait: timer("data_wait", d.data_wait, 100),
        final_reply: timer("final_reply", d.final_reply, 100),
        steer_timeout: timer("steer_timeout", d.steer_timeout, 100),
        steer_wait: timer("steer_wait", d.steer_wait, 0),
        quarantine: timer("quarantine", d.quarantine, 0),
        time_wait: timer("time_wait", d.time_wait, 100),
        drain_timeout: timer("drain_timeout", d.drain_timeout, 0),
        expectation: timer("expectation", d.expectation, 100),
        established: timer("established", d.established, 100),
        transitory: timer("transitory", d.transitory, 100),
        udp: timer("udp", d.udp, 100),
        icmp: timer("icmp", d.icmp, 100),
        orphan: timer("orphan", d.orphan, 0),
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: 10_000,
            half_open: 10_000,
            half_open_per_source: 256,
            per_client: 256,
            over_limit: OverLimit::Return,
            flows: 65_536,
            line: 4_096,
            reply: 262_144,
            commands: 64,
            relay_buffer: 262_144,
            relay_buffers: 256,
            relays_per_client: 128,
            expectations: 16_384,
            expectations_per_client: 64,
            connections: 65_536,
        }
    }
}

impl Default for Timers {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self {
            connect: s(30),
            greeting: s(120),
            first_command: s(60),
            login: s(300),
            control_idle: s(900),
            data_stall: s(600),
            data_wait: s(60),
            final_reply: s(300),
            steer_timeout: s(15),
            steer_wait: s(5),
            quarantine: s(60),
            time_wait: s(10),
            drain_timeout: s(30),
            expectation: s(60),
            // RFC 5382 REQ-5, RFC 4787 REQ-5, RFC 5508 REQ-2.
            established: s(7_440),
            transitory: s(240),
            udp: s(300),
            icmp: s(60),
            orphan: s(10),
        }
    }
}
