//! The arguments, and the help that teaches them.

use crate::config::Cidr;
use clap::{ArgAction, ArgGroup, Parser, Subcommand};
use std::path::PathBuf;

/// An FTP gateway on raw packets: transparent FTP behind WCCP or policy redirection, or in line as a bridge or router.
#[derive(Debug, Parser)]
#[command(
    name = "tidegate",
    version,
    after_help = "Exit status: 0 done, 1 the work found a failure, 2 bad usage, configuration or input.\n\n\
                  Examples:\n  tidegate check --config tidegate.toml\n  tidegate run --config tidegate.toml"
)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Command,

    /// Write results as JSON (run: events, to standard output)
    #[arg(long, global = true)]
    pub(super) json: bool,

    /// Log more: -v commands and replies, -vv everything
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub(super) verbose: u8,

    /// What to log, as `info` or `tidegate::session=debug,info`; overrides -v
    #[arg(long, global = true, value_name = "FILTER")]
    pub(super) log: Option<String>,
}

/// What a play does with a capture; each paragraph is one line, which is wrapped when it is shown.
const PLAY: &str = "\
Playing a capture shows what the gateway would have done, had it stood where these packets went by. The clock is the \
capture's, pauses of more than 20 minutes made shorter. Sessions that end here (handling = \"proxy\") get no answer of a \
server: they begin, and end when the gateway gives the server up.

With kind = \"wccp\" or \"static\" each IP packet is wrapped as the configuration's router redirects: in GRE with a redirect \
header, from the first of wccp.routers (a packet that is GRE already only gets new outer addresses), or, with kind = \
\"static\" or l2 first in wccp.forward, in a frame to the gateway's MAC address. The capture's own Ethernet headers and VLAN \
tags go; what is no IP packet is left out, and IPv6 with kind = \"wccp\". Every neighbour answers ARP and ND. The exit status \
is 1 if a packet came back changed.

With kind = \"bridge\" each frame comes in at one interface as it is, and is looked for at the other. With kind = \"route\" \
its IP packet comes from a neighbour; neighbours answer for every address. Where frames come from is told by --inside, or by \
who sent the first SYN to a control port; other hosts are where their MAC addresses are. Each frame that did not pass as it \
was is named with its number and the counters that it moved. The exit status is 1 if there is one.

Replaying recordings: the last line is \"N passed, N failed\"; each failure names its first difference.

Example:
  tidegate replay --verify pcaps/*/
  tidegate replay --config tidegate.toml in.pcap --out out.pcapng --events events.jsonl";

/// What an explanation is, likewise.
const EXPLAIN: &str = "\
Each FTP session is told as a timeline: commands, replies, and the data connections that were announced, with the SYNs \
that came or did not. Each transfer that failed gets a cause: a stable code, one sentence with frame numbers, and a display \
filter that opens the spot in Wireshark. Several captures are merged by time; a packet that was seen in two places counts \
once. VLAN tags and GRE are taken off. FTP is known by its port, or on any other port by the greeting and the client's first \
command. Names of users and files are shown, passwords are not.

The exit status is 1 if a transfer failed.

Example:
  tidegate explain client.pcapng server.pcapng
  tcpdump -i eth0 -w - port 21 or portrange 1024-65535 | tidegate explain --json - | jq '.sessions[].transfers[].cause'";

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run the gateway until SIGTERM (drain, then stop) or a second one (stop now)
    #[command(after_help = "Example:\n  tidegate run --config /etc/tidegate/tidegate.toml --log info")]
    Run {
        /// The configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Take the interface even if the host itself uses it (it loses its connections by it)
        #[arg(long)]
        force: bool,
        /// Record every turn into this new directory, to be replayed; it will hold passwords and files
        #[arg(long, value_name = "DIR")]
        record: Option<PathBuf>,
        /// End the recording when it is about this large, as 64MiB
        #[arg(long, value_name = "SIZE", default_value = "1GiB", value_parser = size, requires = "record")]
        record_limit: u64,
    },
    /// Play a capture to the gateway, or replay recordings and compare what comes out with what came out then
    #[command(after_help = PLAY, group = ArgGroup::new("what").required(true).args(["config", "verify"]))]
    Replay {
        /// Play a capture to a gateway with this configuration
        #[arg(long, value_name = "FILE", requires = "capture")]
        config: Option<PathBuf>,
        /// The capture, pcap or pcapng
        #[arg(value_name = "IN", requires = "config")]
        capture: Option<PathBuf>,
        /// Write what the gateway sends to this capture (pcapng, or pcap by its name); passwords stand in it
        #[arg(long, value_name = "OUT", requires = "config")]
        out: Option<PathBuf>,
        /// Write the events to this file, as JSON lines; names of users and files stand in them
        #[arg(long, value_name = "FILE", requires = "config")]
        events: Option<PathBuf>,
        /// Networks inside, as 10.0.0.0/8,2001:db8::/32 [default: who sends the first SYN to a control port is inside]
        #[arg(long, value_name = "CIDR,...", value_delimiter = ',', value_parser = network, requires = "config")]
        inside: Vec<Cidr>,
        /// Replay these recordings (directories of `run --record`) instead
        #[arg(long, value_name = "DIR", num_args = 1..)]
        verify: Vec<PathBuf>,
    },
    /// Tell what happened in captured FTP sessions, and why transfers failed
    #[command(after_help = EXPLAIN)]
    Explain {
        /// The captures, pcap or pcapng; - for standard input
        #[arg(value_name = "CAPTURE", required = true)]
        captures: Vec<PathBuf>,
        /// A port of FTP servers; may be given several times [default: 21]
        #[arg(long = "port", value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
        ports: Vec<u16>,
        /// Show passwords
        #[arg(long)]
        show_secrets: bool,
    },
    /// Validate a configuration and print it with all defaults filled in
    #[command(after_help = "Example:\n  tidegate check --config tidegate.toml --json | jq .timers")]
    Check {
        /// The configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
}

fn size(text: &str) -> Result<u64, String> {
    crate::config::parse_size(text)
        .filter(|n| *n > 0)
        .ok_or_else(|| "write bytes, or a number with KiB, MiB or GiB, as 64MiB".to_owned())
}

fn network(text: &str) -> Result<Cidr, String> {
    let network = Cidr::parse(text).map(Cidr::first);
    network.ok_or_else(|| format!("{text:?} is no network, as 10.0.0.0/8 or 2001:db8::/32"))
}
