//! Own addresses, routers, and how they fit each other.

use super::refuses;

#[test]
fn each_family_has_an_address_and_a_router() {
    let both = "address = [\"10.9.0.2/24\", \"2001:db8:9::2/64\"]\nnext_hop = [\"10.9.0.1\", ";
    let with = |hop: &str| both.to_owned() + hop;
    let old = "address = [\"10.9.0.2/24\"]\nnext_hop = \"10.9.0.1\"";
    let remedy = "write the router's address on this network";
    let hop = "t.toml:8: key `interface.next_hop`:";
    let fits: [(&str, &str); 5] = [
        ("\"2001:db8:8::1\"]", "2001:db8:8::1 is no host on the network of 2001:db8:9::2/64"),
        ("\"2001:db8:9::2\"]", "2001:db8:9::2 is our own address"),
        ("\"2001:db8:9::\"]", "2001:db8:9:: is no host on the network of 2001:db8:9::2/64"),
        ("\"ff02::1\"]", "\"ff02::1\" is no host's address"),
        ("\"::ffff:10.9.0.1\"]", "\"::ffff:10.9.0.1\" is no host's address"),
    ];
    for (new, what) in fits {
        let remedy = if what.starts_with('"') { "write it as \"10.9.0.1\"" } else { remedy };
        refuses(old, &with(new), &[&format!("{hop} {what}; {remedy}")]);
    }
    refuses(
        old,
        &with("\"10.9.0.3\"]"),
        &[&format!("{hop} several IPv4 addresses are not built yet; possible now: one of each family")],
    );
    refuses(
        old,
        "address = [\"10.9.0.2/24\", \"2001:db8:9::2/64\"]\nnext_hop = \"10.9.0.1\"",
        &[
            "t.toml:8: key `interface.next_hop`: no IPv6 router for 2001:db8:9::2/64; list one of each family, as \
           next_hop = [\"10.9.0.1\", \"2001:db8:9::1\"]",
        ],
    );
    refuses(
        old,
        "address = [\"10.9.0.2/24\"]\nnext_hop = [\"10.9.0.1\", \"2001:db8:9::1\"]",
        &[&format!(
            "{hop} we have no address of the family of 2001:db8:9::1; take it out, or add an own address to \
             interface.address"
        )],
    );
    refuses(
        old,
        "address = [\"2001:db8:9::2/64\"]\nnext_hop = \"fe80::1\"",
        &[
            "t.toml:10: key `wccp.routers`: WCCP and GRE speak IPv4, and we have no IPv4 address; add an IPv4 \
           address to interface.address and its router to next_hop",
        ],
    );
    refuses(
        "10.9.0.2/24",
        "fe80::2/64",
        &[
            "t.toml:7: key `interface.address`: fe80::2 is good on its link only; write an address that servers \
           beyond the router can answer",
        ],
    );
    refuses(
        "[\"10.9.0.2/24\"]",
        "[]",
        &["t.toml:7: key `interface.address`: the list is empty; write one entry"],
    );
}

#[test]
fn addresses_must_fit_each_other() {
    let remedy = "write the router's address on this network";
    refuses(
        "next_hop = \"10.9.0.1\"",
        "next_hop = \"10.9.1.1\"",
        &[&format!(
            "t.toml:8: key `interface.next_hop`: 10.9.1.1 is no host on the network of 10.9.0.2/24; {remedy}"
        )],
    );
    refuses(
        "next_hop = \"10.9.0.1\"",
        "next_hop = \"10.9.0.255\"",
        &[&format!(
            "t.toml:8: key `interface.next_hop`: 10.9.0.255 is no host on the network of 10.9.0.2/24; {remedy}"
        )],
    );
    refuses(
        "next_hop = \"10.9.0.1\"",
        "next_hop = \"10.9.0.2\"",
        &[&format!("t.toml:8: key `interface.next_hop`: 10.9.0.2 is our own address; {remedy}")],
    );
    refuses(
        "routers = [\"10.9.0.1\"]",
        "routers = [\"10.9.0.2\"]",
        &[
            "t.toml:10: key `wccp.routers`: 10.9.0.2 is our own address; write the router's address, or another \
         interface.address",
        ],
    );
    refuses(
        "10.9.0.2/24",
        "10.9.0.0/24",
        &[
            "t.toml:7: key `interface.address`: 10.9.0.0 is no host's address; write the address that routers reach \
         us by",
        ],
    );
    refuses(
        "10.9.0.2/24",
        "10.9.0.2",
        &["t.toml:7: key `interface.address`: \"10.9.0.2\" is no address with a prefix; write it as \
         \"10.9.0.2/24\" or \"2001:db8:9::2/64\""],
    );
    refuses(
        "next_hop = \"10.9.0.1\"",
        "next_hop = \"router\"",
        &["t.toml:8: key `interface.next_hop`: \"router\" is no host's address; write it as \"10.9.0.1\""],
    );
    refuses(
        "[\"10.9.0.2/24\"]",
        "\"10.9.0.2/24\"",
        &["t.toml:7: key `interface.address`: is a string; write a list with one address of each family"],
    );
}
