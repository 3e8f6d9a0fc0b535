//! The networks that a link may be bound to.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Most networks that one link may be bound to.
pub const MAX_NETWORKS: usize = 16;

/// The networks that a link may be used from, still in their encoded form; empty means anywhere.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Networks<'a>(&'a [u8]);

impl<'a> Networks<'a> {
    /// Whether the link is bound to networks at all.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The encoded form.
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Whether `address` lies in one of the networks. An IPv4 address mapped into IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.iter().any(|network| network.contains(&address))
    }

    /// The networks in their order.
    pub fn iter(&self) -> impl Iterator<Item = IpNet> + 'a {
        let mut rest = self.0;
        std::iter::from_fn(move || {
            let (network, tail) = split_network(rest)?;
            rest = tail;
            Some(network)
        })
    }

    /// Encodes networks: each is one byte of prefix length, one byte of address length (4 or 16), the address.
    pub fn encode(networks: &[IpNet]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for network in networks {
            let network = canonical(*network);
            bytes.push(network.prefix_len());
            match network.addr() {
                IpAddr::V4(address) => {
                    bytes.push(4);
                    bytes.extend(address.octets());
                }
                IpAddr::V6(address) => {
                    bytes.push(16);
                    bytes.extend(address.octets());
                }
            }
        }
        bytes
    }

    /// Reads what [`Networks::encode`] wrote; `None` when it is anything else.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut count = 0;
        while !rest.is_empty() {
            let (network, tail) = split_network(rest)?;
            if canonical(network) != network {
                return None;
            }
            count += 1;
            rest = tail;
        }
        (1..=MAX_NETWORKS).contains(&count).then_some(Self(bytes))
    }
}

impl fmt::Debug for Networks<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

/// Reads a network, or a single address as a network of its own; `None` for anything else. It is answered as addresses are
/// compared: without host bits, and as IPv4 where it is IPv4 mapped into IPv6.
pub fn parse_network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from)).map(canonical)
}

/// Whether networks, as [`parse_network`] answers them, hold half of all addresses of a kind or more, all of them together: of
/// IPv4, or of the IPv6 that is given out. Such networks tell no client from another.
pub fn are_nearly_all(networks: &[IpNet]) -> bool {
    let disjoint = IpNet::aggregate(&networks.to_vec());
    [EVERY_IPV4, EVERY_IPV6].iter().any(|all| {
        let share = |network: &IpNet| match network {
            network if network.contains(all) => 1.0,
            network if all.contains(network) => 0.5_f64.powi((network.prefix_len() - all.prefix_len()).into()),
            _ => 0.0,
        };
        disjoint.iter().map(share).sum::<f64>() >= 0.5
    })
}

/// Without host bits; IPv4 in IPv6's clothes as IPv4, because that is how addresses are compared.
fn canonical(network: IpNet) -> IpNet {
    let network = network.trunc();
    let mapped = match network.addr() {
        IpAddr::V6(address) => address.to_ipv4_mapped(),
        IpAddr::V4(_) => None,
    };
    let prefix = network.prefix_len().checked_sub(MAPPED_PREFIX);
    match (mapped, prefix) {
        (Some(address), Some(prefix)) => IpNet::new(address.into(), prefix).unwrap_or(network),
        _ => network,
    }
}

const EVERY_IPV4: IpNet = IpNet::V4(Ipv4Net::new_assert(Ipv4Addr::UNSPECIFIED, 0));
/// What has been given out of IPv6 (RFC 4291 §2.4, IANA's registry).
const EVERY_IPV6: IpNet = IpNet::V6(Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3));
/// Bits in front of an IPv4 address that is mapped into IPv6 (RFC 4291 §2.5.5.2).
const MAPPED_PREFIX: u8 = 96;

fn split_network(bytes: &[u8]) -> Option<(IpNet, &[u8])> {
    let (&[prefix, length], rest) = bytes.split_first_chunk()?;
    let (address, rest) = match length {
        4 => {
            let (octets, rest) = rest.split_first_chunk::<4>()?;
            (IpAddr::from(*octets), rest)
        }
        16 => {
            let (octets, rest) = rest.split_first_chunk::<16>()?;
            (IpAddr::from(*octets), rest)
        }
        _ => return None,
    };
    Some((IpNet::new(address, prefix).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_survive_encoding_and_match_mapped_addresses() {
        let nets: Vec<IpNet> = vec!["203.0.113.0/24".parse().unwrap(), "2001:db8::/56".parse().unwrap()];
        let bytes = Networks::encode(&nets);
        let networks = Networks::parse(&bytes).unwrap();
        assert_eq!(networks.iter().collect::<Vec<_>>(), nets);
        assert!(networks.contains("::ffff:203.0.113.9".parse().unwrap()));
        assert!(networks.contains("2001:db8:0:ff::1".parse().unwrap()));
        assert!(!networks.contains("203.0.114.1".parse().unwrap()));
        let mapped: Vec<IpNet> = vec!["::ffff:203.0.113.0/120".parse().unwrap()];
        let bytes = Networks::encode(&mapped);
        assert!(Networks::parse(&bytes).unwrap().contains("203.0.113.9".parse().unwrap()));
        assert_eq!(Networks::parse(&[33, 4, 1, 2, 3, 4]), None);
        assert_eq!(Networks::parse(&[24, 4, 1, 2, 3]), None);
        assert_eq!(Networks::parse(&[]), None);
    }

    #[test]
    fn networks_are_nearly_all_there_are_however_they_are_written_down() {
        let parse = |list: &[&str]| list.iter().map(|text| parse_network(text).unwrap()).collect::<Vec<_>>();
        let all_but_one_address: Vec<_> =
            (1..=32).map(|bits| format!("{}/{bits}", Ipv4Addr::from(1 << (32 - bits)))).collect();
        let all_but_one_address: Vec<_> = all_but_one_address.iter().map(String::as_str).collect();
        for (list, expected) in [
            (&["0.0.0.0/0"][..], true),
            (&["10.0.0.0/8", "::/0"], true),
            (&["0.0.0.0/1", "128.0.0.0/1"], true),
            (&["0.0.0.0/2", "64.0.0.0/2", "128.0.0.0/2", "192.0.0.0/2"], true),
            (&["0.0.0.0/2", "128.0.0.0/2"], true),
            (&all_but_one_address, true),
            (&["::ffff:0:0/96"], true),
            (&["::ffff:0.0.0.0/97", "128.0.0.0/1"], true),
            (&["2000::/3"], true),
            (&["::/1", "8000::/1"], true),
            (&["2000::/5", "2800::/5"], true),
            // The same twice is no more than once, and so is what lies within.
            (&["0.0.0.0/2", "0.0.0.0/2", "64.0.0.0/3", "64.0.0.0/4", "0.0.0.1/1"], true),
            (&["0.0.0.0/2", "0.0.0.0/2", "64.0.0.0/3", "64.0.0.0/4"], false),
            (&["2000::/5", "2000::/5", "2000::/6"], false),
            (&["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7", "fe80::/10"], false),
            (&["104.16.0.0/13", "172.64.0.0/13", "162.158.0.0/15", "2606:4700::/32", "2a06:98c0::/29"], false),
            (&["::ffff:10.0.0.0/104", "203.0.113.9", "2001:db8::1"], false),
            (&[], false),
        ] {
            assert_eq!(are_nearly_all(&parse(list)), expected, "{list:?}");
        }
    }
}
