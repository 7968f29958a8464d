//! A request that is over a limit, or fails, has an answer that says so, and is nobody else's
//! matter.

mod common;

use common::each_mode;
use common::server::Server;

#[test]
fn request_that_is_not_done_in_time_is_ended_with_504() {
    for mode in each_mode() {
        let server = Server::start(mode, &["--timeout=200ms"]);
        for path in ["/spin", "/long"] {
            let answer = server.get(path).expect(504);
            assert!(answer.body.contains("timeout of 200ms"), "{answer:?}");
        }
        // Their threads are gone: it would not stop.
        let log = server.stop().log;
        assert!(
            log.contains("(GET /spin): the request was over its timeout"),
            "{log}"
        );
        assert!(log.contains("Answered 2 requests: 2 with 504"), "{log}");
    }
}

#[test]
fn request_over_its_cpu_limit_is_ended_with_503() {
    for mode in each_mode() {
        let server = Server::start(mode, &["--cpu-limit=50ms", "--timeout=1h"]);
        let answer = server.get("/spin").expect(503);
        assert!(answer.body.contains("CPU limit of 50ms"), "{answer:?}");
        server.get("/sleep").expect(200);
    }
}

#[test]
fn request_over_its_fuel_limit_is_ended_with_503() {
    for mode in each_mode() {
        let server = Server::start(mode, &["--fuel-limit=3000000", "--timeout=1h"]);
        let answer = server.get("/spin").expect(503);
        assert!(
            answer.body.contains("fuel limit of 3000000 units"),
            "{answer:?}"
        );
        server.get("/body").expect(200);
    }
}

#[test]
fn request_that_traps_without_memory_has_503_and_others_have_theirs() {
    for mode in each_mode() {
        let server = Server::start(mode, &["--memory-limit=3M", "--threads=1"]);
        let _long = server.send("/long");
        for _ in 0..3 {
            let answer = server.get("/grow").expect(503);
            assert!(
                answer.body.contains("memory limit of 3.00 MiB"),
                "{answer:?}"
            );
            server.get("/").expect(200);
        }
        // Less than it has at first.
        let server = Server::start(mode, &["--memory-limit=1K"]);
        server.get("/").expect(503);
    }
}

#[test]
fn request_without_an_answer_of_its_own_has_500() {
    for mode in each_mode() {
        let server = Server::start(mode, &[]);
        let trapped = server.get("/trap").expect(500);
        assert!(
            trapped.body.contains("the component trapped"),
            "{trapped:?}"
        );
        // What is in the component is not the clients' matter.
        assert!(!trapped.body.contains("unreachable"), "{trapped:?}");
        let none = server.get("/none").expect(500);
        assert!(none.body.contains("returned without an answer"), "{none:?}");
        let log = server.stop().log;
        assert!(log.contains("unreachable"), "{log}");
    }
}

#[test]
fn answer_that_has_begun_is_cut_where_its_request_is_ended() {
    for mode in each_mode() {
        let server = Server::start(mode, &["--timeout=300ms"]);
        let answer = server.get("/half").expect(200);
        assert_eq!(answer.body, "The answer begins, and ");
        assert!(answer.is_cut, "{answer:?}");
        let log = server.stop().log;
        assert!(log.contains("after its answer had begun"), "{log}");
    }
}

#[test]
fn request_cannot_have_resources_of_the_host_without_end() {
    for mode in each_mode() {
        let server = Server::start(mode, &["--timeout=1h"]);
        server.get("/many").expect(500);
        server.get("/").expect(200);
    }
}

#[test]
fn answer_that_its_guest_does_not_end_is_cut() {
    for mode in each_mode() {
        for reuse in ["1", "100"] {
            let reuse = format!("--max-instance-reuse-count={reuse}");
            let server = Server::start(mode, &["--threads=1", "--timeout=1h", &reuse]);
            for _ in 0..3 {
                let answer = server.get("/left").expect(200);
                assert_eq!(answer.body, "The answer begins, and ");
                assert!(answer.is_cut, "{answer:?}");
                let whole = server.get("/body").expect(200);
                assert!(whole.body.len() == 100_000 && !whole.is_cut);
            }
        }
    }
}

#[test]
fn requests_of_requests_are_sent_only_if_that_is_allowed() {
    for mode in each_mode() {
        let other = Server::start(mode, &[]);
        let to = |path: &str| format!("/fetch/{}{path}", other.address());
        let server = Server::start(mode, &[]);
        server.get(&to("")).expect(403);
        let server = Server::start(mode, &["--allow-http"]);
        server.get(&to("")).expect(200);
        // While it waits, others run.
        let _long: Vec<_> = (0..3).map(|_| server.send("/spin")).collect();
        server.get(&to("")).expect(200);
        server.get("/fetch/127.0.0.1:1").expect(502);
        assert!(other.stop().log.contains("Answered 2 requests"));
    }
}
