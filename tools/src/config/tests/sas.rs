//! `[[sa]]` tables.

use super::*;
use ipsec_esp::sa::{Offload, UdpEncap};

#[test]
fn what_is_left_out_gets_its_default() {
    let config = parsed(&sa(&[]));
    let sa = &config.sas[0];
    assert_eq!((sa.name.as_str(), sa.direction, sa.line, sa.column), ("east", Direction::Outbound, 1, 1));
    let params = &sa.params;
    assert_eq!((params.spi, params.esn, params.replay_window, params.sequence), (Spi(0x1001), false, 64, 1));
    assert_eq!(params.udp_encap, None);
    let ends = Mode::Tunnel { src: [192, 0, 2, 1].into(), dst: [192, 0, 2, 2].into() };
    assert_eq!(params.mode, ends);
    assert_eq!(params.encryption_key.bytes(), hex::decode(GCM_KEY).unwrap());
    assert!(params.integrity_key.is_empty());
}

#[test]
fn what_is_given_is_taken() {
    let text = sa(&[
        ("direction", "\"inbound\""),
        ("suite", "\"AES128-SHA1\""),
        ("encryption_key", "\"00112233445566778899aaBBccddeeff\""),
        ("integrity_key", "\"0123456789abcdef0123456789abcdef01234567\""),
        ("mode", "\"transport\""),
        ("tunnel", ""),
        ("destination", "\"2001:db8::2\""),
        ("udp_encap", "{ src_port = 1, dst_port = 65535 }"),
        ("offload", "\"lookaside\""),
        ("esn", "true"),
        ("replay_window", "65_536"),
        ("sequence", "18446744073709551615"),
    ]);
    let config = parsed(&format!("\n  {text}"));
    let sa = &config.sas[0];
    assert_eq!((sa.direction, sa.line, sa.column), (Direction::Inbound, 2, 3));
    let params = &sa.params;
    assert_eq!((params.esn, params.replay_window, params.sequence), (true, 65_536, u64::MAX));
    assert_eq!(params.udp_encap, Some(UdpEncap { src_port: 1, dst_port: 65_535 }));
    assert_eq!(params.mode, Mode::Transport { destination: Some("2001:db8::2".parse().unwrap()) });
    assert_eq!((params.suite.name(), params.integrity_key.len()), ("aes128-sha1", 20));
}

#[test]
fn sub_tables_and_lists_of_inline_tables_mean_the_same() {
    let sub = format!("{}[sa.tunnel]\nsrc = \"192.0.2.1\"\ndst = \"192.0.2.2\"\n", sa(&[("tunnel", "")]));
    let dotted = format!("{}tunnel.src = \"192.0.2.1\"\ntunnel.dst = \"192.0.2.2\"\n", sa(&[("tunnel", "")]));
    let inline = sa(&[]).replacen("[[sa]]\n", "sa = [{ ", 1).trim_end().replace('\n', ", ") + " }]";
    for text in [sub, dotted, inline] {
        assert_eq!(parsed(&text).sas[0].params.mode, parsed(&sa(&[])).sas[0].params.mode);
    }
}

#[test]
fn a_missing_field_is_named_at_its_table() {
    for (field, right) in [
        ("name", "name = \"east-out\""),
        ("direction", "direction = \"outbound\" or \"inbound\""),
        ("spi", "spi = 0x1001, or another number from 0x100 up"),
        ("suite", "suite = \"aes128gcm16\""),
        ("encryption_key", "20 bytes in hex for aes128gcm16 (cipher key, then salt)"),
    ] {
        let text = format!("\n{}", sa(&[(field, "")]));
        assert_fails(&text, &format!("t.toml:2:1: this [[sa]] has no {field}; add {right}"));
    }
    let mode = "t.toml:1:1: this [[sa]] has no mode; add mode = \"tunnel\" or \"transport\"";
    assert_fails(&sa(&[("tunnel", "")]), mode);
    let tunnel =
        "t.toml:1:1: this [[sa]] has no tunnel; add tunnel = { src = \"192.0.2.1\", dst = \"192.0.2.2\" }";
    assert_fails(&sa(&[("tunnel", ""), ("mode", "\"tunnel\"")]), tunnel);
    let dst = "t.toml:7:10: this tunnel has no dst; add dst, an IPv4 or IPv6 address as a string";
    assert_fails(&sa(&[("tunnel", "{ src = \"192.0.2.1\" }")]), dst);
    let port = "t.toml:8:13: this udp_encap has no dst_port; add dst_port = 4500";
    assert_fails(&sa(&[("udp_encap", "{ src_port = 4500 }")]), port);
}

#[test]
fn a_field_that_is_not_known_is_refused_with_names_near_it() {
    let message = "t.toml:8:1: [[sa]] has no field \"replay_windows\"; near it: replay_window, ";
    let error = parse(&sa(&[("replay_windows", "7")])).unwrap_err().to_string();
    assert!(error.starts_with(message), "{error}");
    let error = parse(&sa(&[("\"x\\ny\"", "7")])).unwrap_err().to_string();
    assert!(error.starts_with("t.toml:8:1: [[sa]] has no field \"x y\"; near it: "), "{error}");
    assert_fails(
        &sa(&[("udp_encap", "{ src_port = 1, dst_port = 2, mark = 3 }")]),
        "t.toml:8:43: udp_encap has no field \"mark\"; near it: src_port, dst_port",
    );
}

#[test]
fn of_several_fields_that_are_not_known_the_first_in_the_file_is_named() {
    let error = parse(&sa(&[("zz", "7"), ("aa", "7")])).unwrap_err();
    assert_eq!(error.position(), Some(Position { line: 8, column: 1 }));
}

#[test]
fn what_is_not_built_is_refused_by_name() {
    for (field, value) in [
        ("lifetime", "{ soft_packets = 0, hard_packets = 0 }"),
        ("path_mtu", "1400"),
        ("dont_fragment", "\"copy\""),
        ("tfc_pad_to", "1400"),
        ("dscp", "\"copy\""),
    ] {
        let message = format!("t.toml:8:1: {field} is not implemented yet; remove it");
        assert_fails(&sa(&[(field, value)]), &message);
    }
}

#[test]
fn an_sa_and_its_mirrored_twin_have_the_offload_that_is_written() {
    for (text, offload) in [
        ("\"lookaside\"", Offload::Lookaside),
        ("\"inline-crypto\"", Offload::InlineCrypto),
        ("\"inline-protocol\"", Offload::InlineProtocol),
    ] {
        let config = parsed(&format!("{}{}", sa(&[("offload", text)]), policy(&[]))).mirrored().unwrap();
        let offloads: Vec<_> = config.sas.iter().map(|sa| sa.params.offload).collect();
        assert_eq!(offloads, [offload; 2]);
    }
    assert_eq!(parsed(&sa(&[])).sas[0].params.offload, Offload::Lookaside);
}

#[test]
fn inline_crypto_is_refused_where_the_udp_checksum_covers_what_the_card_encrypts() {
    let encap = ("udp_encap", "{ src_port = 4500, dst_port = 4500 }");
    let crypto = ("offload", "\"inline-crypto\"");
    let v6 = ("tunnel", "{ src = \"2001:db8::1\", dst = \"2001:db8::2\" }");
    let error = parse(&sa(&[v6, encap, crypto])).unwrap_err().to_string();
    assert!(error.starts_with("t.toml:9:11: inline-crypto does not go with udp_encap over IPv6"), "{error}");
    assert!(error.contains("; use inline-protocol or lookaside"), "{error}");
    for lines in [vec![encap, crypto], vec![v6, crypto], vec![v6, encap, ("offload", "\"inline-protocol\"")]]
    {
        assert!(parse(&sa(&lines)).is_ok(), "{lines:?}");
    }
}

#[test]
fn a_legacy_suite_is_taken_only_where_the_sa_says_so() {
    let keys = [
        ("encryption_key", "\"0011223344556677\""),
        ("integrity_key", "\"00112233445566778899aabbccddeeff\""),
    ];
    let with = |suite: &'static str, allow: Option<&'static str>| {
        let mut lines = vec![("suite", suite)];
        lines.extend(keys);
        lines.extend(allow.map(|allow| ("allow_legacy", allow)));
        sa(&lines)
    };
    let refusal = "t.toml:5:9: suite \"des-md5\" is legacy: DES MUST NOT be used, RFC 8221 section 5; \
                   choose another, as aes128gcm16, or write allow_legacy = true for this SA";
    assert_fails(&with("\"des-md5\"", None), refusal);
    assert_fails(&with("\"des-md5\"", Some("false")), refusal);
    let taken = parsed(&with("\"des-md5\"", Some("true")));
    assert_eq!(taken.sas[0].params.suite.name(), "des-md5");
    let error = parse(&with("\"des-md5\"", Some("1"))).unwrap_err().to_string();
    assert!(error.contains("allow_legacy is an integer"), "{error}");
}

#[test]
fn a_value_of_the_wrong_type_or_out_of_range_is_refused_at_its_place() {
    for (field, value, expected) in [
        ("name", "7", "2:8: name is an integer; write a name as a string"),
        ("name", "\"\"", "2:8: name is empty or holds control characters; write printable characters"),
        ("name", "\"a\\nb\"", "2:8: name is empty or holds control characters; write printable characters"),
        ("direction", "\"out\"", "3:13: direction is \"out\"; write \"outbound\" or \"inbound\""),
        ("direction", "true", "3:13: direction is true or false; write \"outbound\" or \"inbound\""),
        ("spi", "\"0x1001\"", "4:7: spi is a string; write an integer from 0x100 to 0xffffffff"),
        ("spi", "-1", "4:7: spi is out of range: -1; write an integer from 0x100 to 0xffffffff"),
        (
            "spi",
            "0x1_0000_0000",
            "4:7: spi is out of range: 0x100000000; write an integer from 0x100 to 0xffffffff",
        ),
        (
            "spi",
            "1e3",
            "4:7: spi is a number with a fraction or exponent; write an integer from 0x100 to 0xffffffff",
        ),
        ("spi", "0", "4:7: SPI 0x0 is reserved; use one from 0x100 up (RFC 4303 section 2.1)"),
        ("spi", "255", "4:7: SPI 0xff is reserved; use one from 0x100 up (RFC 4303 section 2.1)"),
        ("suite", "[]", "5:9: suite is a list; write the name of a suite as a string"),
        ("tunnel", "\"192.0.2.1\"", "7:10: tunnel is a string; write a table"),
        ("mode", "\"beet\"", "8:8: mode is \"beet\"; write \"tunnel\" or \"transport\""),
        ("esn", "1", "8:7: esn is an integer; write true or false"),
        ("esn", "1979-05-27", "8:7: esn is a date or time; write true or false"),
        ("replay_window", "-1", "8:17: replay_window is out of range: -1; write 0 for none, or 32 to 65536"),
        (
            "sequence",
            "18446744073709551616",
            "8:12: sequence is out of range: 18446744073709551616; write an integer from 1 up",
        ),
        ("sequence", "0", "8:12: sequence 0 is out of range; use 1 to 4294967295"),
        ("sequence", "4294967296", "8:12: sequence 4294967296 is out of range; use 1 to 4294967295"),
        (
            "offload",
            "\"nic\"",
            "8:11: offload is \"nic\"; write \"lookaside\" or \"inline-crypto\" or \"inline-protocol\"",
        ),
    ] {
        assert_fails(&sa(&[(field, value)]), &format!("t.toml:{expected}"));
    }
}

#[test]
fn a_suite_that_is_unknown_or_not_built_is_refused_in_the_words_of_the_suites() {
    let error = parse(&sa(&[("suite", "\"aes128gcm17\"")])).unwrap_err().to_string();
    assert!(
        error.starts_with("t.toml:5:9: there is no suite \"aes128gcm17\"; near it: aes128gcm16"),
        "{error}"
    );
    let error = parse(&sa(&[("suite", "\"chacha20poly1305\"")])).unwrap_err().to_string();
    assert!(error.starts_with("t.toml:5:9: suite \"chacha20poly1305\" is not supported yet; "), "{error}");
}

#[test]
fn a_window_must_exist_on_both_sides_but_only_inbound_esn_needs_one() {
    for direction in ["\"outbound\"", "\"inbound\""] {
        let with = |window, esn| sa(&[("direction", direction), ("replay_window", window), ("esn", esn)]);
        let message = "t.toml:8:17: replay window of 31 packets; use 0 for none, or from 32 to 65536";
        assert_fails(&with("31", "false"), message);
        assert_eq!(parsed(&with("0", "false")).sas[0].params.replay_window, 0);
    }
    let with = |direction| sa(&[("direction", direction), ("replay_window", "0"), ("esn", "true")]);
    assert_eq!(parsed(&with("\"outbound\"")).sas[0].params.replay_window, 0);
    let error = parse(&with("\"inbound\"")).unwrap_err().to_string();
    assert!(error.starts_with("t.toml:8:17: extended sequence numbers need a replay window"), "{error}");
}

#[test]
fn addresses_and_ports_outside_their_range_or_mode_are_refused() {
    for (changes, expected) in [
        (
            &[("tunnel", "{ src = \"192.0.2.1\", dst = \"192.0.2\" }")][..],
            "7:37: dst is \"192.0.2\"; write an IPv4 or IPv6 address as a string",
        ),
        (
            &[("tunnel", "{ src = 7, dst = \"192.0.2.2\" }")],
            "7:18: src is an integer; write an IPv4 or IPv6 address as a string",
        ),
        (
            &[("tunnel", "{ src = \"192.0.2.1\", dst = \"::1\" }")],
            "7:10: tunnel from 192.0.2.1 to ::1 mixes IPv4 and IPv6; give both ends of one family",
        ),
        (
            &[("destination", "\"::1\"")],
            "8:15: destination belongs to transport mode; remove it, tunnel.dst is the destination",
        ),
        (
            &[("mode", "\"transport\"")],
            "7:10: tunnel belongs to tunnel mode; remove it, or write mode = \"tunnel\"",
        ),
        (
            &[("tunnel", ""), ("mode", "\"transport\""), ("destination", "\"x\"")],
            "8:15: destination is \"x\"; write an IPv4 or IPv6 address as a string",
        ),
        (
            &[("udp_encap", "{ src_port = 0, dst_port = 1 }")],
            "8:26: src_port is out of range: 0; write a port from 1 to 65535",
        ),
        (
            &[("udp_encap", "{ src_port = 1, dst_port = 65536 }")],
            "8:40: dst_port is out of range: 65536; write a port from 1 to 65535",
        ),
        (&[("udp_encap", "4500")], "8:13: udp_encap is an integer; write a table"),
    ] {
        assert_fails(&sa(changes), &format!("t.toml:{expected}"));
    }
}

#[test]
fn a_name_belongs_to_one_sa() {
    let text = format!("{}{}", sa(&[]), sa(&[("spi", "0x1002")]));
    assert_fails(&text, "t.toml:9:8: the SA of line 1 has the name \"east\" too; give each its own");
}

#[test]
fn two_inbound_sas_need_a_spi_or_a_destination_that_tells_them_apart() {
    let transport = |name, destination| {
        let changes = [
            ("name", name),
            ("direction", "\"inbound\""),
            ("tunnel", ""),
            ("mode", "\"transport\""),
            ("destination", destination),
        ];
        sa(&changes)
    };
    let clash = "t.toml:12:7: the inbound SAs of lines 1 and 9 have SPI 0x1001 and destination in common; give one another spi";
    for (one, other) in [("\"::1\"", "\"::1\""), ("\"::1\"", ""), ("", "\"::1\"")] {
        // An SA without a destination has a line less.
        let text = format!(
            "{}{}{}",
            transport("\"a\"", one),
            if one.is_empty() { "\n" } else { "" },
            transport("\"b\"", other)
        );
        assert_fails(&text, clash);
    }
    parsed(&format!("{}{}", transport("\"a\"", "\"::1\""), transport("\"b\"", "\"::2\"")));
    let tunnel = |name, direction| sa(&[("name", name), ("direction", direction)]);
    parsed(&format!("{}{}", tunnel("\"a\"", "\"outbound\""), tunnel("\"b\"", "\"outbound\"")));
    parsed(&format!("{}{}", tunnel("\"a\"", "\"outbound\""), tunnel("\"b\"", "\"inbound\"")));
    let text = format!("{}{}", tunnel("\"a\"", "\"inbound\""), tunnel("\"b\"", "\"inbound\""));
    assert_fails(&text, &clash.replace("1 and 9", "1 and 8").replace(":12:7", ":11:7"));
}
