//! The inbound half of a round trip.

use super::*;
use ipsec_esp::selector::Selector;

fn mirrored(text: &str) -> Config {
    parsed(text).mirrored().unwrap()
}

/// SPI, direction and name of each SA.
fn listed(config: &Config) -> Vec<(u32, Direction, &str)> {
    config.sas.iter().map(|sa| (sa.params.spi.0, sa.direction, sa.name.as_str())).collect()
}

fn transport(name: &str, direction: &str, destination: &str) -> String {
    let changes = [
        ("name", name),
        ("direction", direction),
        ("tunnel", ""),
        ("mode", "\"transport\""),
        ("destination", destination),
    ];
    sa(&changes)
}

#[test]
fn a_twin_has_the_parameters_and_the_selector_of_its_original() {
    let selector = "{ src = \"10.0.1.0/24\", dst = \"10.0.2.0/24\", protocol = \"tcp\", dst_port = 80 }";
    let udp = "{ src_port = 4500, dst_port = 4501 }";
    let text = format!(
        "{}{}",
        sa(&[("sequence", "77"), ("udp_encap", udp), ("replay_window", "128"), ("esn", "true")]),
        policy(&[("selector", selector), ("priority", "7")])
    );
    let config = mirrored(&text);
    assert_eq!(
        listed(&config),
        [(0x1001, Direction::Outbound, "east"), (0x1001, Direction::Inbound, "east (mirrored)")]
    );
    let [original, twin] = [&config.sas[0].params, &config.sas[1].params];
    assert_eq!((twin.suite, twin.mode, twin.udp_encap), (original.suite, original.mode, original.udp_encap));
    assert_eq!(twin.encryption_key, original.encryption_key);
    assert_eq!((twin.esn, twin.replay_window, twin.sequence), (true, 128, 77));
    let [original, twin] = [&config.policies[0], &config.policies[1]];
    assert_eq!((original.direction, twin.direction), (Direction::Outbound, Direction::Inbound));
    let expected = Selector::parse("10.0.1.0/24", "10.0.2.0/24", "tcp", "any", "80").unwrap();
    assert_eq!((twin.selector, twin.priority, &twin.action), (expected, 7, &PolicyAction::Protect(vec![1])));
    assert_eq!(original.action, PolicyAction::Protect(vec![0]));
}

#[test]
fn bypass_and_discard_are_mirrored_and_inbound_policies_come_first_and_stay_as_they_are() {
    let text = ["\"bypass\"", "\"discard\""].map(|action| policy(&[("action", action), ("sa", "")])).concat()
        + &policy(&[("action", "\"discard\""), ("sa", ""), ("direction", "\"inbound\"")]);
    let inbound: Vec<_> = mirrored(&text)
        .policies
        .into_iter()
        .filter(|policy| policy.direction == Direction::Inbound)
        .map(|policy| (policy.line, policy.action))
        .collect();
    assert_eq!(inbound, [(7, PolicyAction::Discard), (1, PolicyAction::Bypass), (4, PolicyAction::Discard)]);
}

#[test]
fn a_twin_gets_a_window_only_where_it_cannot_do_without() {
    let window =
        |window, esn| mirrored(&sa(&[("replay_window", window), ("esn", esn)])).sas[1].params.replay_window;
    assert_eq!((window("0", "true"), window("0", "false"), window("32", "true")), (64, 0, 32));
}

#[test]
fn an_inbound_sa_of_the_file_with_that_spi_takes_the_place_of_the_twin() {
    let inbound = sa(&[("name", "\"own\""), ("direction", "\"inbound\""), ("replay_window", "1024")]);
    let config = mirrored(&format!("{inbound}{}{}", sa(&[]), policy(&[])));
    assert_eq!(listed(&config), [(0x1001, Direction::Inbound, "own"), (0x1001, Direction::Outbound, "east")]);
    assert_eq!(config.policies[1].action, PolicyAction::Protect(vec![0]));
}

#[test]
fn an_inbound_sa_with_another_destination_does_not() {
    let text = format!(
        "{}{}",
        transport("\"own\"", "\"inbound\"", "\"::1\""),
        transport("\"east\"", "\"outbound\"", "\"::2\"")
    );
    assert_eq!(listed(&mirrored(&text)).len(), 3);
    let text = format!(
        "{}{}",
        transport("\"own\"", "\"inbound\"", ""),
        transport("\"east\"", "\"outbound\"", "\"::2\"")
    );
    assert_eq!(listed(&mirrored(&text)).len(), 2);
}

#[test]
fn an_sa_for_any_destination_is_opened_by_all_inbound_ones_of_its_spi() {
    let inbound = |count: usize| -> String {
        (0..count).map(|i| transport(&format!("\"own-{i}\""), "\"inbound\"", &format!("\"::{i}\""))).collect()
    };
    let tail = format!("{}{}", transport("\"east\"", "\"outbound\"", ""), policy(&[]));
    let config = mirrored(&format!("{}{tail}", inbound(4)));
    assert_eq!(config.policies[1].action, PolicyAction::Protect(vec![0, 1, 2, 3]));
    let error = parsed(&format!("{}{tail}", inbound(5))).mirrored().unwrap_err().to_string();
    let expected = "t.toml:48:1: the inbound half of this policy would list 5 SAs; name SAs that have at most 4 inbound ones";
    assert_eq!(error, expected);
}

#[test]
fn a_list_of_sas_becomes_the_list_of_their_twins_each_once() {
    let text = [
        sa(&[("name", "\"a\"")]),
        sa(&[("name", "\"b\""), ("spi", "0x2000")]),
        sa(&[("name", "\"own\""), ("direction", "\"inbound\"")]),
        sa(&[("name", "\"c\"")]),
        policy(&[("sa", "[\"b\", \"a\", \"c\"]")]),
    ];
    let config = mirrored(&text.concat());
    // "a" and "c" share the SPI of "own"; the twin of "b" is the fifth SA.
    assert_eq!(config.policies[1].action, PolicyAction::Protect(vec![4, 2]));
}

#[test]
fn two_outbound_sas_that_twins_could_not_tell_apart_are_refused() {
    let text = format!("{}{}", sa(&[("name", "\"a\"")]), sa(&[("name", "\"b\"")]));
    let error = parsed(&text).mirrored().unwrap_err().to_string();
    let expected = "t.toml:8:1: the outbound SAs of lines 1 and 8 have SPI 0x1001 and destination in common, a round trip cannot tell their inbound halves apart; give one another spi";
    assert_eq!(error, expected);
    let other = sa(&[("name", "\"b\""), ("tunnel", "{ src = \"192.0.2.1\", dst = \"192.0.2.3\" }")]);
    assert_eq!(mirrored(&format!("{}{other}", sa(&[]))).sas.len(), 4);
}

#[test]
fn a_twin_finds_a_name_that_nobody_has() {
    let config =
        mirrored(&format!("{}{}", sa(&[]), sa(&[("name", "\"east (mirrored)\""), ("spi", "0x2000")])));
    let names: Vec<_> = config.sas.iter().map(|sa| sa.name.as_str()).collect();
    assert_eq!(names, ["east", "east (mirrored)", "east (mirrored)'", "east (mirrored) (mirrored)"]);
}
