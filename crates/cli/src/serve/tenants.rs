//! Whose a request is, and its share of the CPU.

use crate::names;
use crate::rates::{self, Rate};
use clap::Args;
use clap::builder::{StringValueParser, TypedValueParser};
use http::header::{HOST, HeaderName, HeaderValue};
use http::request::Parts;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};
use wasmtime::preempt::Tenant;
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

    /// Let all requests of a tenant together use so much CPU time in each period, such as
    /// 20ms/100ms, or 20%, which means the same
    ///
    /// Without TENANT=, this is for each tenant that has no rate of its own. May be repeated. This
    /// holds for all OS threads together, and may be more than 100%. Requests of a tenant that
    /// has used up its time wait until it refills, and count for --timeout and --max-requests
    /// meanwhile.
    #[arg(long, value_name = "[TENANT=]TIME/PERIOD",
        value_parser = StringValueParser::new().try_map(rate), requires = "tenant")]
    cpu_rate: Vec<(Option<String>, Rate)>,
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

fn rate(text: String) -> Result<(Option<String>, Rate)> {
    match text.rsplit_once('=') {
        Some((tenant, rate)) => Ok((Some(tenant.to_string()), rates::parse(rate)?)),
        None => Ok((None, rates::parse(&text)?)),
    }
}

/// The options, understood.
pub struct Tenants {
    by: Option<By>,
    weights: Vec<(u64, u32)>,
    rates: HashMap<u64, Rate>,
    /// Of the tenants that have no other.
    rate: Option<Rate>,
    throttled: Mutex<Throttled>,
    /// Of a tenant's name. Nobody outside knows its key, and can make two tenants one.
    hasher: RandomState,
}

/// The tenants with a rate that have had requests.
#[derive(Default)]
struct Throttled {
    tenants: HashMap<u64, Tenant>,
    /// Beyond how many to forget those that may be forgotten.
    most: usize,
}

impl TenantArgs {
    pub fn of(&self) -> Tenants {
        let mut tenants = Tenants {
            by: self.tenant.clone(),
            weights: Vec::new(),
            rates: HashMap::new(),
            rate: None,
            throttled: Mutex::default(),
            hasher: RandomState::new(),
        };
        let weights = self.weight.iter();
        let weights = weights.map(|(name, weight)| (tenants.named(name.as_bytes()), *weight));
        tenants.weights = weights.collect();
        for (name, rate) in &self.cpu_rate {
            match name {
                Some(name) => {
                    let group = tenants.named(name.as_bytes());
                    tenants.rates.insert(group, *rate);
                }
                None => tenants.rate = Some(*rate),
            }
        }
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

    /// What the requests of `group` share the rate of, if it has one. A client may make up any
    /// number of tenants: those that have been idle for long are forgotten.
    ///
    /// # Errors
    ///
    /// If the rate is out of bounds.
    pub fn tenant(&self, group: u64) -> Result<Option<Tenant>> {
        let Some(rate) = self.rates.get(&group).or(self.rate.as_ref()) else {
            return Ok(None);
        };
        let throttled = self.throttled.lock();
        let mut throttled = throttled.unwrap_or_else(PoisonError::into_inner);
        if let Some(tenant) = throttled.tenants.get(&group) {
            return Ok(Some(tenant.clone()));
        }
        if throttled.tenants.len() >= throttled.most {
            throttled.tenants.retain(|_, tenant| !tenant.is_idle());
            throttled.most = (2 * throttled.tenants.len()).max(1024);
        }
        let tenant = Tenant::new(rate.quota, rate.period)?;
        throttled.tenants.insert(group, tenant.clone());
        Ok(Some(tenant))
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
            cpu_rate: Vec::new(),
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
    fn requests_share_the_rate_of_their_tenant() {
        let mut args = TenantArgs {
            tenant: Some(By::Host),
            weight: Vec::new(),
            cpu_rate: vec![rate("a.example=30%".to_string()).unwrap()],
        };
        let with = |args: &TenantArgs, host: &str| {
            let tenants = args.of();
            let group = tenants.group(&request(&[("host", host)]));
            let [one, other] = [(); 2].map(|()| tenants.tenant(group).unwrap());
            // The tenant, and what it is the only handle of.
            let shown = format!("{one:?}");
            let shared = one.is_some_and(|one| !one.is_idle());
            drop(other);
            (shown, shared)
        };
        let (a, shared) = with(&args, "A.EXAMPLE:80");
        assert!(a.contains("30ms") && shared, "{a}");
        assert_eq!(with(&args, "b.example").0, "None");
        args.cpu_rate.push(rate("5ms/1s".to_string()).unwrap());
        assert!(with(&args, "a.example").0.contains("30ms"));
        assert!(with(&args, "b.example").0.contains("5ms"));
    }

    #[test]
    fn tenants_that_are_idle_are_forgotten() {
        let args = TenantArgs {
            tenant: Some(By::Host),
            weight: Vec::new(),
            cpu_rate: vec![rate("50%".to_string()).unwrap()],
        };
        let tenants = args.of();
        for group in 1..10_000 {
            tenants.tenant(group).unwrap();
        }
        let throttled = tenants.throttled.lock().unwrap();
        assert!(throttled.tenants.len() <= 1024);
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
