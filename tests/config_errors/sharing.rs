//! An interface that is shared, and VLANs on it.

use super::{GOOD, errors, refuses};

#[test]
fn a_mode_is_one_of_two_and_pnet_cannot_share_where_mac_addresses_redirect() {
    refuses(
        "driver =",
        "mode = \"mine\"\ndriver =",
        &["t.toml:6: key `interface.mode`: \"mine\" is no choice here; write \"dedicated\" or \"shared\""],
    );
    let (head, _) = GOOD.split_once("[wccp]").unwrap();
    let (_, service) = GOOD.split_once("[[service]]").unwrap();
    let fixed = format!("{}[[service]]{service}", head.replace("\"wccp\"", "\"static\""));
    let shared = fixed.replace("driver = \"af_xdp\"", "mode = \"shared\"\ndriver = \"af_xdp\"");
    assert_eq!(errors(&shared), [""; 0]);
    assert_eq!(
        errors(&shared.replace("af_xdp", "pnet")),
        [
            "t.toml:6: key `interface.mode`: by driver = \"pnet\" the host's packets and those redirected to our MAC \
             address are not told apart; use driver = \"af_xdp\", or an interface of its own"
        ]
    );
    // In GRE they are: what is redirected comes to our own address.
    let negotiated = GOOD.replace("driver = \"af_xdp\"", "mode = \"shared\"\ndriver = \"pnet\"");
    assert!(errors(&negotiated)[0].contains("are not told apart"), "forward has l2");
    assert_eq!(errors(&negotiated.replace("forward = [\"gre\", \"l2\"]", "forward = [\"gre\"]")), [""; 0]);
}

#[test]
fn a_vlan_is_one_id_or_two() {
    for good in ["[1]", "[4094]", "[100, 200]", "[100, 100]"] {
        assert_eq!(errors(&GOOD.replace("driver =", &format!("vlan = {good}\ndriver ="))), [""; 0], "{good}");
    }
    let vlan = |value: &str, wanted: &str| {
        refuses(
            "driver =",
            &format!("vlan = {value}\ndriver ="),
            &[&format!("t.toml:6: key `interface.vlan`: {wanted}")],
        );
    };
    vlan("[]", "the list is empty; take the key out, or write the id of the VLAN, as [100]");
    vlan("[1, 2, 3]", "more than two tags; write the outer and the inner tag's id, as [100, 200]");
    vlan("100", "is a whole number; write a list of one or two VLAN ids, as [100]");
    vlan("[0]", "0 is out of range; write a whole number from 1 to 4094");
    vlan("[100, 4095]", "4095 is out of range; write a whole number from 1 to 4094");
}
