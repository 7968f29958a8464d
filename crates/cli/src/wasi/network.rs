//! The network, which no guest has unless it is given to it.

use super::outgoing::Outgoing;
use super::taker::Taker;
use crate::names;
use crate::settings::Setting;
use clap::Args;
use wasmtime::{Result, bail};
use wasmtime_wasi::WasiCtxBuilder;

/// Switches for one guest, or, without a value, for all of them.
#[derive(Args, Clone, Debug)]
pub struct NetworkArgs {
    /// Let one component, or all of them, use this machine's network
    ///
    /// This is `wasmtime run -S inherit-network`. GUEST is a guest's name or number, as in the
    /// table. The component may use TCP and UDP with all addresses, but look up names only with
    /// --allow-ip-name-lookup. Modules have no sockets.
    #[arg(
        long,
        value_name = "GUEST",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ""
    )]
    inherit_network: Vec<String>,

    /// Let one component, or all of them, look up the addresses of host names
    ///
    /// This is `wasmtime run -S allow-ip-name-lookup`.
    #[arg(
        long,
        value_name = "GUEST",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ""
    )]
    allow_ip_name_lookup: Vec<String>,

    /// Let one component, or all of them, send HTTP requests, to any address
    ///
    /// For components that import `wasi:http/outgoing-handler`. Without this, it gives them the
    /// error `HTTP-request-denied`.
    #[arg(
        long,
        value_name = "GUEST",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = ""
    )]
    allow_http: Vec<String>,
}

/// What a guest may do in the network.
#[derive(Clone, Copy, Default)]
pub struct Network {
    sockets: bool,
    names: bool,
    http: bool,
}

impl NetworkArgs {
    /// What each of `guests` may do, which are these `takers`.
    ///
    /// # Errors
    ///
    /// If a guest that is named can have no network, or there is none that can.
    pub fn of(&self, guests: &[String], takers: &[Taker<'_>]) -> Result<Vec<Network>> {
        let mut networks = vec![Network::default(); guests.len()];
        for guest in &self.inherit_network {
            for index in components("--inherit-network", guest, guests, takers)? {
                networks[index].sockets = true;
            }
        }
        for guest in &self.allow_ip_name_lookup {
            for index in components("--allow-ip-name-lookup", guest, guests, takers)? {
                networks[index].names = true;
            }
        }
        for guest in &self.allow_http {
            for index in components("--allow-http", guest, guests, takers)? {
                networks[index].http = true;
            }
        }
        Ok(networks)
    }
}

impl Network {
    pub fn give(self, builder: &mut WasiCtxBuilder) {
        builder.allow_tcp(self.sockets).allow_udp(self.sockets);
        if self.sockets {
            builder.inherit_network();
        }
        builder.allow_ip_name_lookup(self.names);
    }

    pub fn outgoing(self) -> Outgoing {
        Outgoing::new(self.http)
    }
}

/// The indices of the components that are meant by `guest`, or all of them.
fn components(
    option: &str,
    guest: &str,
    guests: &[String],
    takers: &[Taker<'_>],
) -> Result<Vec<usize>> {
    let setting = Setting {
        guest: (!guest.is_empty()).then(|| guest.to_string()),
        value: (),
        text: guest.to_string(),
    };
    let meant = setting.guests(option, guests)?;
    let can = |index: &usize| takers[*index].is_component && takers[*index].argv.is_some();
    let components: Vec<usize> = meant.into_iter().filter(can).collect();
    if components.is_empty() {
        match guest {
            "" => bail!(
                "{option}: no guest is a component that imports WASI, so none has the network"
            ),
            guest => bail!(
                "{option}={}: this guest is no component that imports WASI, so it has no network",
                names::name(guest)
            ),
        }
    }
    Ok(components)
}
