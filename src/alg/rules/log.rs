//! What the rules tell: events, and counts that all sessions share.

use crate::event::What;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// How often what happened, in all sessions.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Counters {
            /// Each with its name, in a fixed order.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }
    };
}

counters! {
    /// Commands that went on.
    commands,
    /// Replies of servers that went on.
    replies,
    /// Commands refused by a reply of ours.
    refused,
    /// Sessions ended by a rule.
    ended,
    /// Connections that are not FTP.
    not_ftp,
    /// Clients that spoke before the greeting.
    early,
    /// PORT, EPRT, LPRT with an address that is not the client's, refused.
    foreign_addresses,
    /// PORT, EPRT, LPRT that name another server, as `fxp` allows.
    exchanges,
    /// Ports that no data connection may use, of either side.
    denied_ports,
    /// Addresses in 227, 228, 229 that are not the server's; the server's was taken.
    pinned_addresses,
    /// Announcements of data connections that name none.
    unnamed,
    /// 227, 228, 229 that nobody asked for.
    unasked_addresses,
    /// Announcements and commands written anew for their form.
    repaired,
    /// Commands for data connections before the login.
    before_login,
    /// Transfers without PORT or PASV.
    no_setup,
    /// Data connections that no place was left for.
    no_room,
    /// Sessions that announced too fast, or under strict rules commanded so.
    too_fast,
    /// Logins that servers refused.
    failed_logins,
    /// Those that clients were told of late.
    late_refusals,
    /// Lines with Telnet commands other than those before ABOR and STAT.
    telnet,
    /// Lines with a NUL.
    nul,
    /// Lines with a CR that ends nothing.
    bare_cr,
    /// Commands that end in a bare LF.
    bare_lf,
    /// Lines beyond the limit.
    overlong,
    /// Names of files beyond the limit of strict rules.
    long_names,
    /// Lines without an end in time.
    late,
    /// Replies beyond the limit.
    long_replies,
    /// Lines of a server that are no part of a reply.
    strays,
    /// Replies that closed with another code than they opened with.
    reply_anomalies,
    /// Replies that no command awaited.
    unsolicited,
    /// Announcements that went by unread, since nobody asked for them when they began.
    unread,
    /// Commands that waited for the answer to another.
    waited,
    /// Commands that came faster than is allowed, and waited for their time.
    slowed,
    /// Clients that said nothing in time, or did not log in.
    impatient,
    /// Bytes around AUTH that would be taken for protected (CVE-2011-0411's class).
    injected,
    /// Connections that became encrypted.
    encrypted,
    /// Connections that became clear again.
    clear_again,
    /// Bytes sent again that were others; the first ones stand.
    conflicts,
    /// Segments beyond the receiver's window.
    out_of_window,
    /// Segments older than one before.
    old_timestamps,
    /// Segments that came too early, or were too much to keep; the sender sends them again.
    dropped_segments,
    /// Acknowledgements of what was not sent.
    bad_acks,
    /// Urgent marks taken off: bytes that a receiver could have left out of its line.
    urgent_cleared,
    /// Answers that found no place.
    answers_lost,
    /// Receivers that did not take what we answer for.
    gave_up,
    /// Connections that cannot be read: signed, or begun before we looked.
    unreadable,
    /// SYNs with data, or with options taken out.
    stripped_syns,
}

/// What the rules tell. The owner takes the events out.
#[derive(Debug, Default)]
pub struct Log {
    /// What happened, in order.
    pub events: Vec<What>,
    /// How often.
    pub counters: Counters,
}
