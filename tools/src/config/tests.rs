//! Whole configurations, and what is wrong with a document; the rooms below take one kind of table each.

mod keys;
mod mirrored;
mod policies;
mod sas;

use super::*;
use ipsec_esp::header::esp::Spi;
use ipsec_esp::sa::Mode;

/// The hex of a GCM key and salt, which no message may show.
const GCM_KEY: &str = "101112131415161718191a1b1c1d1e1f7e57a001";

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::from_text("t.toml", text, Path::new("/nowhere"))
}

#[track_caller]
fn parsed(text: &str) -> Config {
    match parse(text) {
        Ok(config) => config,
        Err(error) => panic!("{error}"),
    }
}

#[track_caller]
fn assert_fails(text: &str, expected: &str) {
    match parse(text) {
        Ok(_) => panic!("taken, not refused with: {expected}"),
        Err(error) => assert_eq!(error.to_string(), expected),
    }
}

/// A table of lines `field = value`: those of `lines`, some changed, some dropped (no value), some added behind.
/// The header is line 1, the first field line 2.
fn table(header: &str, lines: &[(&str, &str)], changes: &[(&str, &str)]) -> String {
    let changed = |field: &str| changes.iter().find(|(name, _)| *name == field).map(|(_, value)| *value);
    let kept = lines.iter().map(|(field, value)| (*field, changed(field).unwrap_or(value)));
    let added = changes.iter().filter(|(field, _)| lines.iter().all(|(name, _)| name != field)).copied();
    let fields = kept.chain(added).filter(|(_, value)| !value.is_empty());
    fields.fold(format!("{header}\n"), |text, (field, value)| format!("{text}{field} = {value}\n"))
}

/// An outbound SA of eight lines at most: name 2, direction 3, spi 4, suite 5, encryption_key 6, tunnel 7, more.
fn sa(changes: &[(&str, &str)]) -> String {
    let lines = [
        ("name", "\"east\""),
        ("direction", "\"outbound\""),
        ("spi", "0x1001"),
        ("suite", "\"aes128gcm16\""),
        ("encryption_key", "\"101112131415161718191a1b1c1d1e1f7e57a001\""),
        ("tunnel", "{ src = \"192.0.2.1\", dst = \"192.0.2.2\" }"),
    ];
    table("[[sa]]", &lines, changes)
}

/// An outbound policy: direction 2, action 3, sa 4, more.
fn policy(changes: &[(&str, &str)]) -> String {
    let lines = [("direction", "\"outbound\""), ("action", "\"protect\""), ("sa", "\"east\"")];
    table("[[policy]]", &lines, changes)
}

#[test]
fn the_configuration_of_the_captures_is_taken_and_can_be_mirrored() {
    let config = parsed(include_str!("../../../pcaps/default.toml"));
    let names: Vec<_> = config.sas.iter().map(|sa| (sa.name.as_str(), sa.params.suite.name())).collect();
    let expected = [
        ("v4-east", "aes128gcm16"),
        ("v4-west", "aes256-sha256"),
        ("v6-east", "aes128-sha1"),
        ("v6-west", "aes256gcm16"),
    ];
    assert_eq!(names, expected);
    assert_eq!(config.sas[2].params.spi, Spi(0x2001));
    let ends = Mode::Tunnel { src: "2001:db8::1".parse().unwrap(), dst: "2001:db8::2".parse().unwrap() };
    assert_eq!(config.sas[2].params.mode, ends);
    let actions: Vec<_> = config.policies.iter().map(|policy| policy.action.clone()).collect();
    let protect = |index| PolicyAction::Protect(vec![index]);
    let bypass = PolicyAction::Bypass;
    assert_eq!(actions, [protect(0), protect(1), protect(2), protect(3), bypass.clone(), bypass]);
    assert_eq!(config.notes, [""; 0]);
    let mirrored = config.mirrored().unwrap();
    assert_eq!((mirrored.sas.len(), mirrored.policies.len()), (8, 12));
    config.check_for(ReplayDirection::Roundtrip).unwrap();
    mirrored.check_for(ReplayDirection::Inbound).unwrap();
}

#[test]
fn a_broken_document_is_refused_at_its_place_without_showing_the_line() {
    let text = format!("[[sa]]\nname = \"a\"\n  encryption_key = \"{GCM_KEY}\n");
    assert_fails(&text, "t.toml:3:61: not TOML: invalid basic string; expected `\"`");
    let text = format!("[[sa]]\nencryption_key = {GCM_KEY}\n");
    assert_fails(&text, "t.toml:2:39: not TOML: invalid float; expected nothing");
    assert_fails("[[sa]]\nspi = 1\nspi = 2\n", "t.toml:3:1: not TOML: duplicate key");
}

#[test]
fn columns_count_characters_after_any_line_end() {
    assert_fails(
        "#\r\n# ü\n [[sá]]",
        "t.toml:3:5: not TOML: invalid unquoted key; expected letters, numbers, `-`, `_`",
    );
    let text = sa(&[("name", "\"ü\"")]).replace("name = \"ü\"\n", "\"name\" = \"ü\"; spi = 7\n");
    assert!(parse(&text).unwrap_err().position().is_some_and(|at| at.line == 2));
    let text = "[[sa]]\r\ntunnel = { src = \"ü\", dsst = \"\" }\r\n";
    assert_fails(text, "t.toml:1:1: this [[sa]] has no name; add name = \"east-out\"");
    let text = sa(&[("tunnel", "{ src = \"ü\", dsst = \"\" }")]);
    assert_fails(&text, "t.toml:7:23: tunnel has no field \"dsst\"; near it: dst, src");
}

#[test]
fn any_damaged_configuration_is_taken_or_refused_in_one_line_with_a_place_in_the_text() {
    let text = include_str!("../../../pcaps/default.toml").replace('#', "\n#");
    let lines = text.lines().count();
    let mut refused = 0;
    for at in (0..text.len()).step_by(3) {
        let (before, after) = text.split_at(at);
        for damaged in
            [before.to_owned(), [before, after.get(1..).unwrap()].concat(), [before, "=", after].concat()]
        {
            let Err(error) = parse(&damaged) else { continue };
            refused += 1;
            assert!(error.position().is_some_and(|at| (1..=lines + 1).contains(&at.line)), "{error}");
            assert!(!error.to_string().contains('\n'));
        }
    }
    assert!(refused > 1000, "{refused}");
}

#[test]
fn tables_of_the_gateway_are_left_out_with_a_note_whatever_they_hold() {
    let text = format!("{}[[port]]\nx = 1\n[[port]]\n[gateway]\nspi = []\n[[route]]\n", sa(&[]));
    let notes = [
        "t.toml:8:3: [[port]] is for esp-gateway; ignored",
        "t.toml:11:2: [gateway] is for esp-gateway; ignored",
        "t.toml:13:3: [[route]] is for esp-gateway; ignored",
    ];
    assert_eq!(parsed(&text).notes, notes);
}

#[test]
fn a_table_that_nobody_knows_or_of_the_wrong_kind_is_refused() {
    assert_fails(
        "[[policies]]\n",
        "t.toml:1:3: there is no table \"policies\"; near it: policy, port, route",
    );
    assert_fails(
        "\nversion = 1\n[[x]]\n",
        "t.toml:2:1: there is no table \"version\"; near it: sa, policy, port",
    );
    assert_fails("[sa]\nname = \"a\"\n", "t.toml:1:1: sa is a table; write [[sa]]");
    assert_fails("policy = 7\n", "t.toml:1:10: policy is an integer; write [[policy]]");
    assert_fails("sa = [\n  7]\n", "t.toml:2:3: [[sa]] is an integer; write a table");
}

#[test]
fn a_direction_without_anything_to_do_is_refused_in_one_line_about_the_file() {
    let empty = parsed("");
    let outbound = parsed(&format!("{}{}", sa(&[]), policy(&[])));
    let inbound_sa = parsed(&sa(&[("direction", "\"inbound\"")]));
    let shown = |config: &Config, direction| config.check_for(direction).map_err(|error| error.to_string());
    let no_policy = "t.toml: no outbound policy; add a [[policy]] with direction = \"outbound\"";
    let no_sa = "t.toml: no inbound SA; add one with direction = \"inbound\"";
    assert_eq!(shown(&empty, ReplayDirection::Outbound), Err(no_policy.to_owned()));
    assert_eq!(shown(&empty, ReplayDirection::Roundtrip), Err(no_policy.to_owned()));
    assert_eq!(shown(&empty, ReplayDirection::Inbound), Err(no_sa.to_owned()));
    assert_eq!(shown(&outbound, ReplayDirection::Outbound), Ok(()));
    assert_eq!(shown(&outbound, ReplayDirection::Roundtrip), Ok(()));
    assert_eq!(shown(&outbound, ReplayDirection::Inbound), Err(no_sa.to_owned()));
    let no_policy = "t.toml: no inbound policy; add a [[policy]] with direction = \"inbound\"";
    assert_eq!(shown(&inbound_sa, ReplayDirection::Inbound), Err(no_policy.to_owned()));
}

#[test]
fn a_file_that_is_not_there_is_an_error_about_the_whole_file() {
    let error = Config::read(Path::new("/nowhere/c.toml")).unwrap_err();
    assert_eq!(error.position(), None);
    let start = "/nowhere/c.toml: the configuration cannot be read (No such file or directory";
    assert!(error.to_string().starts_with(start), "{error}");
}

#[test]
fn debug_output_of_a_configuration_shows_no_key() {
    let shown = format!("{:?}", parsed(&sa(&[])));
    assert!(
        shown.contains("redacted") && !shown.contains("1011121314") && !shown.contains("16, 17, 18"),
        "{shown}"
    );
}
