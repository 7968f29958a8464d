//! Whose a request is, and its share of the CPU.

use crate::names;
use clap::Args;
use clap::builder::{StringValueParser, TypedValueParser};
use http::header::{HOST, HeaderName, HeaderValue};
use http::request::Parts;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use wasmtime::{Result, bail, format_err};

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Shares")]
pub struct TenantArgs {
    /// Share the CPU among tenants instead of among requests: `host` for a tenant for each host
    /// name, or `header:NAME` for one for each value of a header
    ///
    /// The requests of a tenant share what the tenant gets. Requests without the header are of
    /// one tenant together. A server in front must see to it that the host or the header is true: a
    /// client that may choose it can be any number of tenants. Shares are those of one Store.
    #[arg(long, value_name = "host|header:NAME",
        value_parser = StringValueParser::new().try_map(by))]
    tenant: Option<By>,

    /// Give a tenant this many times the CPU of one with weight 1, which all others have
    ///
    /// May be repeated.
    #[arg(long, value_name = "TENANT=N", value_parser = StringValueParser::new().try_map(weight),
        requires = "tenant")]
    weight: Vec<(String, u32)>,
}

/// What tells tenants apart.
#[derive(Clone, Debug, PartialEq)]
enum By {
    Host,
    Header(HeaderName),
}

fn by(text: String) -> Result<By> {
    match text.split_once(':') {
        None if text == "host" => Ok(By::Host),
        Some(("header", name)) => name
            .parse()
            .map(By::Header)
            .map_err(|_| format_err!("this is no name of a header: `{}`", names::name(name))),
        _ => bail!("write `host`, or `header:NAME`, as in `header:x-tenant`"),
    }
}

fn weight(text: String) -> Result<(String, u32)> {
    let (tenant, weight) = text
        .rsplit_once('=')
        .ok_or_else(|| format_err!("write TENANT=N, as in `example.com=3`"))?;
    match weight.parse() {
        Ok(weight @ 1..=1_000_000) => Ok((tenant.to_string(), weight)),
        _ => bail!("give a weight from 1 to 1000000, as in `{tenant}=3`"),
    }
}

/// The options, understood.
pub struct Tenants {
    by: Option<By>,
    weights: Vec<(u64, u32)>,
    /// Of a tenant's name. Nobody outside knows its key, and can make two tenants one.
    hasher: RandomState,
}

impl TenantArgs {
    pub fn of(&self) -> Tenants {
        let mut tenants = Tenants {
            by: self.tenant.clone(),
            weights: Vec::new(),
            hasher: RandomState::new(),
        };
        let weights = self.weight.iter();
        let weights = weights.map(|(name, weight)| (tenants.named(name.as_bytes()), *weight));
        tenants.weights = weights.collect();
        tenants
    }
}

impl Tenants {
    /// Whether requests are of tenants.
    pub fn are_told_apart(&self) -> bool {
        self.by.is_some()
    }

    /// The group of threads that a request belongs to; 0 if it is on its own.
    pub fn group(&self, request: &Parts) -> u64 {
        let name = match &self.by {
            None => return 0,
            Some(By::Host) => host(request).map(str::as_bytes),
            Some(By::Header(name)) => request.headers.get(name).map(HeaderValue::as_bytes),
        };
        self.named(name.unwrap_or_default())
    }

    fn named(&self, name: &[u8]) -> u64 {
        let hash = match self.by {
            // Host names are the same in lower and upper case.
            Some(By::Host) => self.hasher.hash_one(&name.to_ascii_lowercase()[..]),
            _ => self.hasher.hash_one(name),
        };
        // 0 is no group.
        hash.max(1)
    }

    /// The groups whose weight is not 1.
    pub fn weights(&self) -> &[(u64, u32)] {
        &self.weights
    }
}

/// The host that a request is for, without a port.
fn host(request: &Parts) -> Option<&str> {
    let authority = match request.uri.authority() {
        Some(authority) => authority.as_str(),
        None => request.headers.get(HOST)?.to_str().ok()?,
    };
    let port = authority
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|digit| digit.is_ascii_digit()));
    Some(port.map_or(authority, |(host, _)| host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn tenants(tenant: &str, weights: &[&str]) -> Tenants {
        let args = TenantArgs {
            tenant: Some(by(tenant.to_string()).unwrap()),
            weight: weights
                .iter()
                .map(|text| weight(text.to_string()).unwrap())
                .collect(),
        };
        args.of()
    }

    fn request(headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri("/");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn tenants_by_host_are_told_apart_by_name_only() {
        let tenants = tenants("host", &["A.example=3"]);
        let group = |host| tenants.group(&request(&[("host", host)]));
        assert_eq!(group("a.example"), group("A.EXAMPLE:8080"));
        assert_ne!(group("a.example"), group("b.example"));
        assert_eq!(group("[::1]:80"), group("[::1]"));
        assert_ne!(group("[::1]"), group("[::2]"));
        assert_ne!(tenants.group(&request(&[])), 0);
    }

    #[test]
    fn weight_is_of_the_tenant_that_the_header_names() {
        let tenants = tenants("header:X-Tenant", &["ada=3", "b=c=2"]);
        let group = |value| tenants.group(&request(&[("x-tenant", value)]));
        assert_eq!(tenants.weights(), [(group("ada"), 3), (group("b=c"), 2)]);
        assert_ne!(group("ada"), group("Ada"));
        let other = request(&[("x-other", "ada")]);
        assert_eq!(tenants.group(&other), group(""));
    }

    #[test]
    fn bad_values_are_errors_that_say_what_works() {
        for text in ["", "Host", "header", "header:", "header:a b", "path"] {
            let error = by(text.to_string()).unwrap_err().to_string();
            assert!(error.contains("header"), "{text}: {error}");
        }
        for text in ["", "a", "a=", "a=0", "a=-1", "a=1000001", "a=x"] {
            let error = weight(text.to_string()).unwrap_err().to_string();
            assert!(error.contains("=3`"), "{text}: {error}");
        }
    }
}
