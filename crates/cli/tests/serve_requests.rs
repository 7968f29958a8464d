//! Each request has a thread, and none has to wait for another to be done.

mod common;

use common::each_mode;
use common::server::{Server, response};
use std::io::{BufRead, BufReader, Read, Write};
use std::thread;

#[test]
fn request_is_answered_beside_others_that_never_yield() {
    for mode in each_mode() {
        let server = Server::start(mode, &["--threads=2", "--timeout=1h"]);
        let _spinning: Vec<_> = (0..5).map(|_| server.send("/spin")).collect();
        for path in ["/", "/work", "/sleep", "/body"] {
            server.get(path).expect(200);
        }
    }
}

#[test]
fn many_requests_are_answered_by_one_store_after_the_other() {
    for mode in each_mode() {
        let server = Server::start(mode, &["--threads=1"]);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..50).for_each(|_| drop(server.get("/").expect(200))));
            }
        });
        let log = server.stop().log;
        assert!(log.contains("Answered 200 requests: 200 with 200"), "{log}");
    }
}

#[test]
fn slow_requests_among_many_do_not_use_up_the_server() {
    for mode in each_mode() {
        let server = Server::start(mode, &["--threads=1", "--timeout=1h"]);
        let mut slow = Vec::new();
        // Each of them is in a Store that the others have filled.
        for path in ["/long", "/spin"].repeat(10) {
            slow.push(server.send(path));
            (0..40).for_each(|_| drop(server.get("/").expect(200)));
        }
    }
}

#[test]
fn time_without_a_bound_is_none() {
    for mode in each_mode() {
        let server = Server::start(mode, &["--timeout=18446744073709551615s"]);
        server.get("/sleep").expect(200);
    }
}

#[test]
fn sleeping_requests_sleep_at_the_same_time() {
    for mode in each_mode() {
        let server = Server::start(mode, &["--threads=1", "--timeout=1h"]);
        // One after the other, they would take hours.
        let _sleeping: Vec<_> = (0..20).map(|_| server.send("/long")).collect();
        let sleeping: Vec<_> = (0..20).map(|_| server.send("/sleep")).collect();
        for stream in sleeping {
            response(stream).expect(200);
        }
    }
}

#[test]
fn connection_can_be_used_again() {
    for mode in each_mode() {
        let server = Server::start(mode, &[]);
        let mut stream = server.connect();
        let mut answers = BufReader::new(stream.try_clone().unwrap());
        for path in ["/", "/trap", "/work", "/none", "/"] {
            write!(stream, "GET {path} HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
            let mut line = String::new();
            answers.read_line(&mut line).unwrap();
            let is_error = matches!(path, "/trap" | "/none");
            assert_eq!(line.contains(" 200 "), !is_error, "{path}: {line}");
            let mut length = 0;
            while line.trim() != "" {
                line.clear();
                answers.read_line(&mut line).unwrap();
                if let Some(value) = line.strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap();
                }
            }
            answers.read_exact(&mut vec![0; length]).unwrap();
        }
    }
}

#[test]
fn answer_to_head_is_what_the_answer_to_get_would_be_without_its_body() {
    for mode in each_mode() {
        let server = Server::start(mode, &[]);
        let mut stream = server.connect();
        write!(
            stream,
            "HEAD /body HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
        // The guest has written all of it.
        let log = server.stop().log;
        assert!(!log.contains("(HEAD /body)"), "{log}");
    }
}

#[test]
fn bodies_go_both_ways_in_pieces() {
    for mode in each_mode() {
        let server = Server::start(mode, &["--slice", mode.short_slice()]);
        let body = server.get("/body").expect(200);
        assert_eq!(body.body, "a".repeat(100_000));
        assert!(!body.is_cut);

        let mut stream = server.connect();
        let sent = "0123456789".repeat(20_000);
        let mut to = stream.try_clone().unwrap();
        let length = sent.len();
        let sending = sent.clone();
        let sender = thread::spawn(move || {
            write!(
                to,
                "POST /echo HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\
                 Content-Length: {length}\r\n\r\n"
            )
            .unwrap();
            to.write_all(sending.as_bytes()).unwrap();
        });
        stream.flush().unwrap();
        let echoed = response(stream).expect(200);
        sender.join().unwrap();
        assert!(echoed.body == sent && !echoed.is_cut);
    }
}

/// How many requests the instance has had that answers the next one.
fn count(server: &Server) -> usize {
    server.get("/count").expect(200).body.len()
}

#[test]
fn instance_answers_as_many_requests_as_it_may() {
    for mode in each_mode() {
        let server = Server::start(mode, &["--threads=1"]);
        assert_eq!([(); 6].map(|()| count(&server)), [1; 6]);

        let reused = ["--threads=1", "--max-instance-reuse-count=3"];
        let server = Server::start(mode, &reused);
        // An instance that is about to return from an earlier request is not used.
        while count(&server) < 3 {}
        assert!((0..20).all(|_| count(&server) <= 3));
    }
}

#[test]
fn instance_that_has_failed_answers_no_more() {
    for mode in each_mode() {
        let options = ["--threads=1", "--max-instance-reuse-count=100"];
        let server = Server::start(mode, &options);
        while count(&server) < 10 {}
        // Each takes an instance with it.
        let fails = || {
            server.get("/trap").expect(500);
            count(&server) < 10
        };
        while !fails() {}
    }
}
