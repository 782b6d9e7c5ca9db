//! `[[policy]]` tables.

use super::*;
use ipsec_esp::selector::Selector;

/// An SA `east` of seven lines, and a policy from line 8 on.
fn with_policy(changes: &[(&str, &str)]) -> String {
    format!("{}{}", sa(&[]), policy(changes))
}

#[test]
fn what_is_left_out_gets_its_default() {
    let config = parsed(&with_policy(&[]));
    let policy = &config.policies[0];
    assert_eq!(
        (policy.direction, policy.priority, policy.line, policy.column),
        (Direction::Outbound, 1000, 8, 1)
    );
    assert_eq!(policy.selector, Selector::ANY);
    assert_eq!(policy.action, PolicyAction::Protect(vec![0]));
}

#[test]
fn what_is_given_is_taken() {
    let selector = "{ src = \"10.0.1.0/24\", protocol = 6, dst_port = 80, src_port = \"1000-2000\" }";
    let config = parsed(&with_policy(&[("priority", "0"), ("selector", selector)]));
    let expected = Selector::parse("10.0.1.0/24", "any", "tcp", "1000-2000", "80").unwrap();
    assert_eq!((config.policies[0].priority, config.policies[0].selector), (0, expected));
    for (action, expected) in [("\"bypass\"", PolicyAction::Bypass), ("\"discard\"", PolicyAction::Discard)] {
        assert_eq!(parsed(&policy(&[("action", action), ("sa", "")])).policies[0].action, expected);
    }
}

#[test]
fn a_policy_may_stand_before_its_sas_and_list_up_to_four() {
    let name = |index: usize| format!("\"sa-{index}\"");
    let sas: String =
        (0..5).map(|index| sa(&[("name", &name(index)), ("spi", &format!("{}", 256 + index))])).collect();
    let list = |indices: &[usize]| {
        let names: Vec<_> = indices.iter().map(|index| name(*index)).collect();
        format!("{}{sas}", policy(&[("sa", &format!("[{}]", names.join(", ")))]))
    };
    assert_eq!(parsed(&list(&[3, 0, 4, 1])).policies[0].action, PolicyAction::Protect(vec![3, 0, 4, 1]));
    assert_fails(&list(&[0, 1, 2, 3, 4]), "t.toml:4:6: sa names 5 SAs; name 1 to 4");
    assert_fails(&list(&[]), "t.toml:4:6: sa names 0 SAs; name 1 to 4");
    assert_fails(&list(&[0, 0]), "t.toml:4:15: SA \"sa-0\" is named twice; name it once");
}

#[test]
fn a_missing_field_is_named_at_its_table() {
    for (field, right) in [
        ("direction", "direction = \"outbound\" or \"inbound\""),
        ("action", "action = \"protect\", \"bypass\" or \"discard\""),
        ("sa", "sa = the name of an SA, which a protect policy needs"),
    ] {
        let message = format!("t.toml:8:1: this [[policy]] has no {field}; add {right}");
        assert_fails(&with_policy(&[(field, "")]), &message);
    }
}

#[test]
fn a_field_that_is_not_known_is_refused_with_names_near_it() {
    let message = "t.toml:12:1: [[policy]] has no field \"prio\"; near it: priority, action, sa";
    assert_fails(&with_policy(&[("prio", "7")]), message);
    let message = "t.toml:12:14: selector has no field \"port\"; near it: src_port, dst_port, src";
    assert_fails(&with_policy(&[("selector", "{ port = 7 }")]), message);
}

#[test]
fn a_wrong_value_is_refused_at_its_place() {
    for (changes, expected) in [
        (&[("direction", "\"in\"")][..], "9:13: direction is \"in\"; write \"outbound\" or \"inbound\""),
        (
            &[("action", "\"drop\"")],
            "10:10: action is \"drop\"; write \"protect\" or \"bypass\" or \"discard\"",
        ),
        (
            &[("action", "\"bypass\"")],
            "11:6: sa belongs to action = \"protect\"; remove it, or change the action",
        ),
        (
            &[("sa", "7")],
            "11:6: sa is an integer; write the name of an SA as a string, or a list of up to four",
        ),
        (
            &[("sa", "[\"east\", 7]")],
            "11:15: sa is an integer; write the name of an SA as a string, or a list of up to four",
        ),
        (
            &[("priority", "4294967296")],
            "12:12: priority is out of range: 4294967296; write an integer from 0 to 4294967295",
        ),
        (&[("priority", "\"1\"")], "12:12: priority is a string; write an integer from 0 to 4294967295"),
        (&[("selector", "\"any\"")], "12:12: selector is a string; write a table"),
        (
            &[("selector", "{ src = true }")],
            "12:20: src is true or false; write \"any\", a prefix, a range or an address as a string",
        ),
        (
            &[("selector", "{ protocol = -6 }")],
            "12:25: protocol is out of range: -6; write \"any\", a name, or a number from 1 to 255",
        ),
        (
            &[("selector", "{ dst = \"10.0.1.1/24\" }")],
            "12:20: 10.0.1.1/24 has bits set beyond the prefix: write 10.0.1.0/24 for the network or 10.0.1.1 for the host",
        ),
        (
            &[("selector", "{ protocol = \"tpc\" }")],
            "12:25: \"tpc\" is not a protocol: write any, a name (tcp, udp, icmp, icmpv6, sctp, gre) or a number from 1 to 255",
        ),
        (
            &[("selector", "{ protocol = \"tcp\", dst_port = 65536 }")],
            "12:43: \"65536\" is not a port: write any, a port (80) or a range (1000-2000), from 0 to 65535",
        ),
        (
            &[("selector", "{ src = \"10.0.1.0/24\", dst = \"fd00::/64\" }")],
            "12:12: 10.0.1.0/24 and fd00::/64 are not of one family: write both as IPv4 or both as IPv6",
        ),
    ] {
        assert_fails(&with_policy(changes), &format!("t.toml:{expected}"));
    }
    let error = parse(&with_policy(&[("selector", "{ dst_port = 80 }")])).unwrap_err().to_string();
    assert!(error.starts_with("t.toml:12:12: ports need a protocol that has them, not any: "), "{error}");
}

#[test]
fn an_sa_that_is_not_there_or_of_the_other_direction_is_refused() {
    let message = "t.toml:11:6: there is no SA \"eats\"; near it: east";
    assert_fails(&with_policy(&[("sa", "\"eats\"")]), message);
    let message = "t.toml:4:6: there is no SA \"east\"; add an [[sa]] table with that name";
    assert_fails(&policy(&[]), message);
    let message = "t.toml:11:6: SA \"east\" is outbound, this policy is inbound; name an inbound SA";
    assert_fails(&with_policy(&[("direction", "\"inbound\"")]), message);
}
