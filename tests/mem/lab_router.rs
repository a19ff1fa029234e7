// Included into the root of a test program: the lab router names its own modules from there.
macro_rules! router_modules {
    ($($name:ident = $path:literal;)*) => {
        $(
            #[path = $path]
            #[allow(dead_code, unreachable_pub, unused_imports, reason = "tests need a part of the router")]
            mod $name;
        )*
    };
}
router_modules! {
    arp = "../../src/bin/wccp-router/arp.rs";
    frag = "../../src/bin/wccp-router/frag.rs";
    gre = "../../src/bin/wccp-router/gre.rs";
    ipv6 = "../../src/bin/wccp-router/ipv6.rs";
    outbox = "../../src/bin/wccp-router/outbox.rs";
    packet = "../../src/bin/wccp-router/packet.rs";
    policy = "../../src/bin/wccp-router/policy.rs";
    router = "../../src/bin/wccp-router/router.rs";
    wccp = "../../src/bin/wccp-router/wccp/mod.rs";
}
