use proptest::prelude::*;

use super::*;

fn of(address: &str) -> Option<Special> {
    special(address.parse().unwrap(), &[])
}

#[track_caller]
fn all(addresses: &[&str], name: &'static str) {
    for address in addresses {
        assert_eq!(of(address), Some(Special::Named(name)), "{address}");
    }
}

#[track_caller]
fn all_public(addresses: &[&str]) {
    for address in addresses {
        assert_eq!(of(address), None, "{address}");
    }
}

#[test]
fn every_special_range_of_ipv4_is_refused_to_its_edges() {
    all(&["0.0.0.0", "0.255.255.255"], "unspecified");
    all(&["10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255"], "private");
    all(&["192.168.0.0", "192.168.255.255"], "private");
    all(&["100.64.0.0", "100.127.255.255", "100.100.2.136"], "shared (carrier or cloud)");
    all(&["127.0.0.0", "127.0.0.1", "127.255.255.255"], "loopback");
    all(&["169.254.0.0", "169.254.255.255"], "link-local");
    all(&["192.0.0.0", "192.0.0.255", "240.0.0.0", "255.255.255.254"], "reserved");
    all(&["192.0.2.1", "198.51.100.1", "203.0.113.255"], "documentation");
    all(&["192.88.99.1"], "tunnel");
    all(&["198.18.0.0", "198.19.255.255"], "benchmark");
    all(&["224.0.0.0", "239.255.255.255"], "multicast");
    all(&["255.255.255.255"], "broadcast");
}

#[test]
fn every_special_range_of_ipv6_is_refused_to_its_edges() {
    all(&["::"], "unspecified");
    all(&["::1"], "loopback");
    all(&["::2", "::127.0.0.1", "::8.8.8.8", "::ffff:ffff"], "IPv4-compatible");
    all(&["fc00::", "fdff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], "private");
    all(&["fe80::", "fe80::1", "febf:ffff::"], "link-local");
    all(&["fec0::", "feff:ffff::"], "site-local");
    all(&["ff00::", "ff02::1", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], "multicast");
    all(&["2001::", "2001:0:7f00:1::", "2001:0:ffff::"], "tunnel (Teredo)");
    all(&["2001:2::1", "2001:10::1", "2001:20::1", "2001:1ff:ffff::"], "reserved");
    all(&["2001:db8::", "2001:db8:ffff::", "3fff::", "3fff:fff:ffff::"], "documentation");
    all(&["2002::", "2002:7f00:1::", "2002:808:808::1"], "tunnel (6to4)");
    all(&["64:ff9b:1::1", "100::1", "1fff::", "4000::", "8000::1", "fbff::"], "reserved");
    all(&["::ffff:0:7f00:1"], "reserved");
}

#[test]
fn an_ipv4_address_in_ipv6_clothes_is_judged_as_what_it_is() {
    all(
        &["::ffff:127.0.0.1", "::ffff:7f00:1", "64:ff9b::7f00:1", "64:ff9b::127.0.0.1"],
        "loopback",
    );
    all(&["::ffff:10.1.2.3", "64:ff9b::192.168.0.1"], "private");
    all_public(&["::ffff:8.8.8.8", "64:ff9b::8.8.8.8"]);
}

#[test]
fn the_metadata_service_is_refused_whatever_is_allowed() {
    let everything = ["0.0.0.0/0", "::/0", "100.100.100.200", "169.254.169.254/32"];
    let everything = everything.map(|text| text.parse().unwrap());
    for address in [
        "100.100.100.200",
        "169.254.169.254",
        "::ffff:100.100.100.200",
        "64:ff9b::169.254.169.254",
        "fd00:ec2::254",
    ] {
        let address = address.parse().unwrap();
        assert_eq!(special(address, &everything), Some(Special::Metadata), "{address}");
        assert_eq!(special(address, &[]), Some(Special::Metadata), "{address}");
    }
}

#[test]
fn public_addresses_are_not_refused_up_to_the_edges() {
    all_public(&["1.0.0.0", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255"]);
    all_public(&["100.128.0.0", "126.255.255.255", "128.0.0.0", "169.253.255.255"]);
    all_public(&["169.255.0.0", "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255"]);
    all_public(&["192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255"]);
    all_public(&["2000::", "2001:200::1", "2001:db7::", "2001:db9::", "2003::1"]);
    all_public(&["2400:3200::1", "2606:4700::1111", "3ffe::", "3fff:1000::"]);
}

#[test]
fn an_allowed_network_allows_its_addresses_and_no_others() {
    let allowed = ["127.0.0.0/8", "100.118.0.0/16", "::1"].map(|text| text.parse().unwrap());
    let of = |address: &str| special(address.parse().unwrap(), &allowed);
    for address in ["127.0.0.1", "::ffff:127.1.2.3", "100.118.9.9", "::1"] {
        assert_eq!(of(address), None, "{address}");
    }
    for address in ["10.0.0.1", "100.117.0.1", "::2", "fe80::1"] {
        assert!(matches!(of(address), Some(Special::Named(_))), "{address}");
    }
}

#[test]
fn what_is_no_network_is_refused() {
    for bad in ["", "localhost", "127.0.0.0/33", "10.0.0", "::/129", "127.0.0.1:80", "*"] {
        assert!(bad.parse::<Network>().is_err(), "{bad}");
    }
}

proptest! {
    /// The standard library's judgement is the oracle; ours must be at least as strict.
    #[test]
    fn nothing_that_the_standard_library_calls_special_is_public(bits: u32, head in 0u8..=255) {
        for v4 in [Ipv4Addr::from(bits), Ipv4Addr::from((bits >> 8) | u32::from(head) << 24)] {
            let odd = v4.is_private() || v4.is_loopback() || v4.is_link_local() || v4.is_broadcast()
                || v4.is_documentation() || v4.is_multicast() || v4.is_unspecified();
            let ours = special(v4.into(), &[]);
            prop_assert!(!odd || ours.is_some(), "{}", v4);
            prop_assert_eq!(ours, special(v4.to_ipv6_mapped().into(), &[]));
        }
    }

    #[test]
    fn no_ipv6_outside_the_public_block_is_public(bits: u128) {
        let v6 = Ipv6Addr::from(bits);
        let odd = v6.is_loopback() || v6.is_unspecified() || v6.is_multicast()
            || v6.is_unique_local() || v6.is_unicast_link_local()
            || v6.segments()[0] >> 13 != 1;
        let ours = special(v6.into(), &[]);
        prop_assert!(!odd || ours.is_some() || embedded(v6).is_some(), "{}", v6);
    }
}
