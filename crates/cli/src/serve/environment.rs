//! What instances see of the world: variables, directories, the network.

use crate::console::{Console, Target};
use crate::wasi::{Dir, variable};
use clap::Args;
use wasmtime::Result;
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder};

#[derive(Args, Clone, Debug)]
pub struct EnvironmentArgs {
    /// Set an environment variable
    ///
    /// May be repeated. NAME alone gives it the value that it has for this process, if it has
    /// one; apart from that, requests do not see the environment of this process.
    #[arg(long, value_name = "NAME[=VAL]")]
    env: Vec<String>,

    /// Grant access to a directory
    ///
    /// Requests find it by the name GUEST_DIR, or by the same name as on the host. May be
    /// repeated. While a request reads or writes a file, the others of its Store wait.
    #[arg(long, value_name = "HOST_DIR[::GUEST_DIR]")]
    dir: Vec<String>,

    /// The same as --dir, but nothing can be changed in the directory
    #[arg(long, value_name = "HOST_DIR[::GUEST_DIR]")]
    dir_ro: Vec<String>,

    /// Let requests send HTTP requests of their own, to any address
    #[arg(long)]
    allow_http: bool,

    /// Let requests use this machine's network: TCP and UDP, with all addresses
    #[arg(long)]
    inherit_network: bool,

    /// Let requests look up the addresses of host names
    #[arg(long)]
    allow_ip_name_lookup: bool,
}

/// The options, understood.
pub struct Environment {
    variables: Vec<(String, String)>,
    dirs: Vec<Dir>,
    /// Whether requests may send requests.
    pub allow_http: bool,
    inherit_network: bool,
    allow_ip_name_lookup: bool,
    console: Console,
}

impl EnvironmentArgs {
    /// # Errors
    ///
    /// If a value is not of its form, or a directory cannot be opened.
    pub fn of(&self, console: &Console) -> Result<Environment> {
        let mut variables: Vec<(String, String)> = Vec::new();
        for text in &self.env {
            let Some((name, value)) = variable(text, "NAME=VAL")? else {
                continue;
            };
            variables.retain(|(earlier, _)| *earlier != name);
            variables.push((name, value));
        }
        let writable = self.dir.iter().map(|text| Dir::writable(text));
        let read_only = self.dir_ro.iter().map(|text| Dir::read_only(text));
        let environment = Environment {
            variables,
            dirs: writable.chain(read_only).collect::<Result<_>>()?,
            allow_http: self.allow_http,
            inherit_network: self.inherit_network,
            allow_ip_name_lookup: self.allow_ip_name_lookup,
            console: console.clone(),
        };
        // Rather now than with the first request.
        environment.context("")?;
        Ok(environment)
    }
}

impl Environment {
    /// The context of an instance. What it prints begins with `label`.
    ///
    /// # Errors
    ///
    /// If a directory cannot be opened.
    pub fn context(&self, label: &str) -> Result<WasiCtx> {
        let mut builder = WasiCtxBuilder::new();
        builder
            .envs(&self.variables)
            .stdout(self.console.stream(Target::Stdout, label))
            .stderr(self.console.stream(Target::Stderr, label))
            .allow_tcp(self.inherit_network)
            .allow_udp(self.inherit_network)
            .allow_ip_name_lookup(self.allow_ip_name_lookup);
        if self.inherit_network {
            builder.inherit_network();
        }
        for dir in &self.dirs {
            dir.open(&mut builder)?;
        }
        Ok(builder.build())
    }
}
