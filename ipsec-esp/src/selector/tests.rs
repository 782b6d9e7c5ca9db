//! Tests of selectors: what their text means, what it refuses, and what they match.

use std::net::Ipv4Addr;

use super::*;
use crate::flow_key::{V4Key, V6Key};
use proptest::prelude::*;

fn v4(src: &str, dst: &str, upper: Upper) -> FlowKey {
    FlowKey::V4(V4Key::new(src.parse().unwrap(), dst.parse().unwrap(), upper))
}

fn v6(src: &str, dst: &str, upper: Upper) -> FlowKey {
    FlowKey::V6(V6Key::new(src.parse().unwrap(), dst.parse().unwrap(), upper))
}

fn web() -> Upper {
    Upper::with_ports(6, 4000, 80)
}

#[test]
fn a_prefix_takes_its_first_and_last_address_and_not_their_neighbours() {
    let selector = Selector::parse("10.0.1.0/24", "any", "any", "any", "any").unwrap();
    for (src, expected) in
        [("10.0.0.255", false), ("10.0.1.0", true), ("10.0.1.255", true), ("10.0.2.0", false)]
    {
        assert_eq!(selector.matches(&v4(src, "1.1.1.1", web())), expected, "{src}");
    }
    let selector = Selector::parse("any", "2001:db8::/32", "any", "any", "any").unwrap();
    for (dst, expected) in
        [("2001:db7:ffff::", false), ("2001:db8::", true), ("2001:db8:ffff::1", true), ("2001:db9::", false)]
    {
        assert_eq!(selector.matches(&v6("::1", dst, web())), expected, "{dst}");
    }
}

#[test]
fn a_range_takes_both_its_ends_and_an_address_itself_alone() {
    let selector = Selector::parse("10.0.1.1-10.0.1.9", "10.0.2.7", "any", "any", "any").unwrap();
    for (src, expected) in [("10.0.1.0", false), ("10.0.1.1", true), ("10.0.1.9", true), ("10.0.1.10", false)]
    {
        assert_eq!(selector.matches(&v4(src, "10.0.2.7", web())), expected, "{src}");
    }
    assert!(!selector.matches(&v4("10.0.1.5", "10.0.2.8", web())));
}

#[test]
fn a_prefix_of_length_zero_takes_all_of_its_family_and_any_takes_both() {
    let all_v4 = Selector::parse("0.0.0.0/0", "any", "any", "any", "any").unwrap();
    assert!(all_v4.matches(&v4("255.255.255.255", "0.0.0.0", web())));
    assert!(!all_v4.matches(&v6("::1", "::2", web())));
    let all_v6 = Selector::parse("any", "::/0", "any", "any", "any").unwrap();
    assert!(all_v6.matches(&v6("::1", "ffff::", web())));
    assert!(!all_v6.matches(&v4("1.1.1.1", "2.2.2.2", web())));
    for key in [v4("1.1.1.1", "2.2.2.2", web()), v6("::1", "::2", Upper::opaque(50))] {
        assert!(Selector::ANY.matches(&key));
    }
}

#[test]
fn protocol_and_both_ports_must_match() {
    let selector = Selector::parse("any", "any", "tcp", "1000-5000", "80").unwrap();
    let matches = |upper| selector.matches(&v4("1.1.1.1", "2.2.2.2", upper));
    assert!(matches(Upper::with_ports(6, 1000, 80)) && matches(Upper::with_ports(6, 5000, 80)));
    assert!(!matches(Upper::with_ports(17, 1000, 80)));
    assert!(!matches(Upper::with_ports(6, 999, 80)) && !matches(Upper::with_ports(6, 5001, 80)));
    assert!(!matches(Upper::with_ports(6, 1000, 81)));
}

#[test]
fn opaque_ports_match_any_alone_even_where_the_range_is_full() {
    let key = v4("1.1.1.1", "2.2.2.2", Upper::opaque(6));
    assert!(Selector::parse("any", "any", "tcp", "any", "any").unwrap().matches(&key));
    assert!(!Selector::parse("any", "any", "tcp", "0-65535", "any").unwrap().matches(&key));
    assert!(!Selector::parse("any", "any", "tcp", "any", "0").unwrap().matches(&key));
}

#[test]
fn an_icmp_type_is_found_whichever_way_the_selector_is_turned() {
    let echo = Selector::parse("any", "any", "icmp", "2048-2303", "any").unwrap();
    let key = v4("1.1.1.1", "2.2.2.2", Upper::with_ports(1, 0x0800, 0x0800));
    assert!(echo.matches(&key) && echo.reversed().matches(&key));
    assert!(!echo.matches(&v4("1.1.1.1", "2.2.2.2", Upper::with_ports(1, 0, 0))));
}

#[test]
fn reversed_takes_the_answers_and_twice_is_the_same() {
    let selector = Selector::parse("10.0.1.0/24", "10.0.2.0/24", "udp", "any", "53").unwrap();
    let reversed = selector.reversed();
    assert!(reversed.matches(&v4("10.0.2.1", "10.0.1.1", Upper::with_ports(17, 53, 9999))));
    assert!(!reversed.matches(&v4("10.0.1.1", "10.0.2.1", Upper::with_ports(17, 9999, 53))));
    assert_eq!(reversed.reversed(), selector);
}

#[test]
fn text_that_is_wrong_is_answered_with_what_would_be_right() {
    let addresses = |text: &str| text.parse::<Addresses>().unwrap_err().to_string();
    assert!(addresses("10.0.1.5/24").ends_with("write 10.0.1.0/24 for the network or 10.0.1.5 for the host"));
    assert!(addresses("10.0.1.9-10.0.1.1").ends_with("write 10.0.1.1-10.0.1.9"));
    assert!(addresses("2001:db8::1/64").contains("2001:db8::/64"));
    for text in ["", "10.0.1", "10.0.1.0/33", "10.0.1.0/", "10.0.1.1-", "-", "::1-::g", "host.example"] {
        assert!(addresses(text).contains("10.0.1.0/24"), "{text}");
    }
    assert!(addresses("10.0.0.1-::1").contains("one family"));
    for text in ["", "0", "256", "tcpp", "-1"] {
        assert!(matches!(text.parse::<Protocol>(), Err(SelectorError::NotProtocol { .. })), "{text}");
    }
    for text in ["", "65536", "80-", "-80", "http", "1-2-3"] {
        assert!(matches!(text.parse::<Ports>(), Err(SelectorError::NotPorts { .. })), "{text}");
    }
    assert!("90-80".parse::<Ports>().unwrap_err().to_string().ends_with("write 80-90"));
}

#[test]
fn fields_that_contradict_each_other_are_refused() {
    let mixed = Selector::parse("10.0.1.0/24", "2001:db8::/32", "any", "any", "any");
    assert!(matches!(mixed, Err(SelectorError::MixedFamilies { .. })));
    for protocol in ["any", "gre", "50"] {
        let error = Selector::parse("any", "any", protocol, "any", "80").unwrap_err();
        assert!(error.to_string().contains("write tcp, udp"), "{error}");
    }
    assert!(Selector::parse("any", "any", "gre", "any", "any").is_ok());
}

#[test]
fn what_is_shown_can_be_read_again() {
    for text in
        ["any", "10.0.1.0/24", "10.0.1.1-10.0.1.9", "10.0.1.1", "0.0.0.0/0", "2001:db8::/32", "::1-::5"]
    {
        assert_eq!(text.parse::<Addresses>().unwrap().to_string(), text);
    }
    for text in ["any", "tcp", "icmpv6", "250"] {
        assert_eq!(text.parse::<Protocol>().unwrap().to_string(), text);
    }
    for text in ["any", "0", "80", "1000-2000"] {
        assert_eq!(text.parse::<Ports>().unwrap().to_string(), text);
    }
    let selector = Selector::parse("10.0.1.0/24", "any", "6", "any", "80").unwrap();
    assert_eq!(selector.to_string(), "10.0.1.0/24 port any > any port 80 protocol tcp");
}

proptest! {
    #[test]
    fn a_prefix_takes_an_address_exactly_when_the_leading_bits_agree(net: u32, len in 0_u8..=32, address: u32, near: bool) {
        let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
        let network = net & mask;
        let address = if near { network ^ (address & !mask) ^ (address & 0x0100) } else { address };
        let text = format!("{}/{len}", Ipv4Addr::from_bits(network));
        let selector = Selector::parse("any", &text, "any", "any", "any").unwrap();
        let key = FlowKey::V4(V4Key::new(Ipv4Addr::LOCALHOST, Ipv4Addr::from_bits(address), web()));
        prop_assert_eq!(selector.matches(&key), address & mask == network);
        prop_assert_eq!(selector.dst().to_string().parse::<Addresses>().unwrap(), selector.dst());
    }
}
