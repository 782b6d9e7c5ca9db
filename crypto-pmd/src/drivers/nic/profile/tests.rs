use super::*;
use crate::{AeadAlgorithm, Algorithm, CipherAlgorithm, IntegrityAlgorithm};

#[test]
fn each_bundled_card_is_read_under_its_own_name() {
    assert_eq!(Profile::names().count(), 5);
    for name in Profile::names() {
        let profile = Profile::find(name).unwrap();
        assert_eq!(profile.name, name);
        assert!(profile.services.lookaside && !profile.summary.is_empty());
        assert!(profile.capabilities.entries().count() >= 5 && profile.capabilities.hardware, "{name}");
    }
}

#[test]
fn the_old_card_is_slow_small_and_has_three_algorithms_of_its_time() {
    let card = Profile::named("hifn-7751-like").unwrap();
    let has = |algorithm: Algorithm| card.capabilities.entry(algorithm).is_some();
    assert!(has(CipherAlgorithm::TripleDesCbc.into()));
    assert!(has(IntegrityAlgorithm::HmacMd5.into()) && has(IntegrityAlgorithm::HmacSha1.into()));
    assert!(!has(CipherAlgorithm::AesCbc.into()) && !has(AeadAlgorithm::AesGcm.into()));
    assert!(card.bandwidth_mbps < 100 && card.sa_slots <= 128 && card.segments == 1);
    assert_eq!(card.capabilities.entry(IntegrityAlgorithm::HmacSha1.into()).unwrap().tags, [12]);
}

#[test]
fn a_modern_accelerator_has_key_operations_and_keeps_sources_whole() {
    let card = Profile::named("lookaside-accelerator").unwrap();
    assert!(!card.in_place && !card.services.inline_crypto && card.key_operations.len() == 5);
}

#[test]
fn the_inline_cards_have_the_bandwidth_of_their_names() {
    for gbps in [25, 100, 200] {
        let card = Profile::named(&format!("inline-{gbps}g")).unwrap();
        assert_eq!(card.bandwidth_mbps, gbps * 1000);
        assert!(card.services.inline_crypto && card.services.inline_protocol);
        let gcm = card.capabilities.entry(AeadAlgorithm::AesGcm.into()).unwrap();
        assert!(gcm.keys.allow(16) && gcm.keys.allow(32) && !gcm.keys.allow(24));
        // All engines together.
        let bytes_per_second = card.engines as f64 * 1500.0 / card.busy_ns(1500) * 1e9;
        assert!((bytes_per_second * 8.0 / (gbps as f64 * 1e9) - 1.0).abs() < 1e-9);
    }
}

#[test]
fn a_file_of_a_user_is_found_by_its_name() {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), "name = \"mine\"\n[[algorithm]]\nname = \"aes-gcm\"\nkeys = [256]\n")
        .unwrap();
    let card = Profile::find(file.path().to_str().unwrap()).unwrap();
    assert_eq!((card.name.as_str(), card.engines, card.bandwidth_mbps), ("mine", 1, 0));
    assert_eq!(card.busy_ns(1500), 0.0);
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_place_and_what_would_be_right() {
    let said = |text: &str| Profile::parse("card.toml", text).unwrap_err().to_string();
    let with = |line: &str| said(&format!("name = \"x\"\n{line}\n"));
    assert_eq!(with("ring_depth = 100"), "card.toml:2:14: ring_depth = 100 is no power of two; use 128");
    assert_eq!(with("engines = 0"), "card.toml:2:11: engines = 0 is out of range; use 1 to 64");
    assert!(
        with("enginse = 1").starts_with("card.toml:2:1: unknown field `enginse`"),
        "{}",
        with("enginse = 1")
    );
    assert!(
        with("[[algorithm]]\nname = \"aes-gmc\"")
            .starts_with("card.toml:3:8: algorithm \"aes-gmc\" is unknown")
    );
    assert_eq!(
        with("[[algorithm]]\nname = \"aes-gcm\"\nkeys = [100]"),
        "card.toml:4:8: aes-gcm has no key of 100 bits; leave it out"
    );
    assert!(with("[[algorithm]]\nname = \"deflate\"").contains("do not compress"));
    assert!(with("services = [\"inline\"]").contains("use lookaside, inline-crypto, inline-protocol"));
    assert!(with("[[key_operation]]\nname = \"rsa\"\nmax_bits = 1").contains("use one of mod-exp"));
    assert!(said("engines = 1").contains("missing field `name`"));
    assert!(Profile::find("inline-400g").unwrap_err().to_string().contains("inline-200g"));
}
