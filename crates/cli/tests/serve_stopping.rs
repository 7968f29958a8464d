//! A server that is stopped answers the requests that it has.

mod common;

use common::each_mode;
use common::server::{Server, response};

#[test]
fn first_signal_waits_for_requests_and_a_second_one_does_not() {
    for mode in each_mode() {
        for signal in ["-INT", "-TERM"] {
            let server = Server::start(mode, &["--timeout=1h"]);
            let sleeping = server.send("/sleep");
            // It has been accepted once a later one is answered.
            server.get("/").expect(200);
            server.signal(signal);
            response(sleeping).expect(200);
            let stopped = server.wait();
            assert_eq!(stopped.status, 0);
            assert!(
                stopped.log.contains("Answered 2 requests: 2 with 200"),
                "{}",
                stopped.log
            );

            let server = Server::start(mode, &["--timeout=1h"]);
            let _spinning = server.send("/spin");
            server.get("/").expect(200);
            server.signal(signal);
            // The second one must not come before the first was seen.
            while server.accepts() {}
            server.signal(signal);
            assert_eq!(server.wait().status, 130);
        }
    }
}
