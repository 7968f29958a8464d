//! Tenants share the CPU by their weights, however many requests each has.

mod common;

use common::server::Server;
use common::{each_mode, read};
use serde_json::Value;
use std::collections::HashMap;

/// What each request had of the CPU, by its number, in the units of the trace.
fn used(dir: &str) -> HashMap<u64, f64> {
    let trace: Value = serde_json::from_str(&read(&format!("{dir}/store-1.json"))).unwrap();
    let events = trace["traceEvents"].as_array().unwrap().iter();
    // The second process is the Store.
    let events: Vec<&Value> = events.filter(|event| event["pid"] == 1).collect();
    let mut names = HashMap::new();
    for event in &events {
        if event["name"] == "thread_name" {
            let name = event["args"]["name"].as_str().unwrap().to_string();
            names.insert(event["tid"].as_u64().unwrap(), name);
        }
    }
    let mut used = HashMap::new();
    for event in &events {
        let Some(duration) = event["dur"].as_f64() else {
            continue;
        };
        let name = event["tid"].as_u64().and_then(|thread| names.get(&thread));
        let number = name.and_then(|name| name.split(' ').next()?.parse().ok());
        if let Some(number) = number {
            *used.entry(number).or_default() += duration;
        }
    }
    used
}

#[test]
fn tenant_gets_its_share_whatever_the_requests_of_others() {
    for mode in each_mode() {
        let dir = common::out(&format!("serve-tenants-{}", mode.name));
        let _ = std::fs::remove_dir_all(&dir);
        let server = Server::start(
            mode,
            &[
                "--threads=1",
                "--tenant=header:x-tenant",
                "--weight=b=3",
                "--timeout=4s",
                "--trace",
                &dir,
            ],
        );
        let spin = |tenant: &str| server.send_with("/spin", &format!("X-Tenant: {tenant}\r\n"));
        let spinning = [spin("a"), spin("a"), spin("a"), spin("a"), spin("b")];
        for stream in spinning {
            common::server::response(stream).expect(504);
        }
        server.stop();
        let used = used(&dir);
        let mut used: Vec<f64> = used.into_values().collect();
        assert_eq!(used.len(), 5);
        used.sort_by(f64::total_cmp);
        let all: f64 = used.iter().sum();
        // Without tenants it would have a fifth, and with equal weights a half.
        let share = used[4] / all;
        assert!(
            (0.6..0.9).contains(&share),
            "{}: {share} of {used:?}",
            mode.name
        );
    }
}
