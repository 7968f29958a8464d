//! There is a bound to what clients can ask for.

mod common;

use common::each_mode;
use common::server::{HANGS, Server, response};
use std::io::{Read, Write};
use std::time::Instant;

#[test]
fn more_requests_than_there_may_be_have_503() {
    for mode in each_mode() {
        let server = Server::start(mode, &["--max-requests=2", "--timeout=1h"]);
        let waiting = [server.send("/long"), server.send("/long")];
        // Whether both have come is not known.
        let busy = loop {
            let answer = server.get("/");
            if answer.status != 200 {
                break answer.expect(503);
            }
        };
        assert!(
            busy.body.contains("there are 2 requests already"),
            "{busy:?}"
        );
        assert!(busy.has_header("retry-after: 1"), "{busy:?}");
        drop(waiting);
        // Their clients are gone, and so are they.
        while server.get("/").status != 200 {}
    }
}

#[test]
fn request_whose_client_goes_away_is_ended() {
    for mode in each_mode() {
        for path in ["/spin", "/long", "/half"] {
            let options = ["--threads=1", "--max-requests=2", "--timeout=1h"];
            let server = Server::start(mode, &options);
            for _ in 0..5 {
                let mut clients = [server.send(path), server.send(path)];
                if path == "/half" {
                    // Its answer has begun, if there was a place for it.
                    clients
                        .iter_mut()
                        .for_each(|it| it.read_exact(&mut [0]).unwrap());
                }
                drop(clients);
                // They would have their places for an hour.
                while server.get("/").status != 200 {}
            }
            assert_eq!(server.stop().status, 0);
        }
    }
}

#[test]
fn client_that_takes_nothing_of_its_answer_does_not_keep_its_connection() {
    for mode in each_mode() {
        let options = ["--max-connections=1", "--timeout=500ms"];
        let server = Server::start(mode, &options);
        let mut greedy = server.connect();
        for _ in 0..200 {
            // More than the OS keeps for it.
            let request = "GET /body HTTP/1.1\r\nHost: a\r\n\r\n";
            greedy.write_all(request.as_bytes()).unwrap();
        }
        server.get("/").expect(200);
        drop(greedy);
    }
}

#[test]
fn server_that_is_stopped_does_not_wait_for_a_client_for_ever() {
    for mode in each_mode() {
        let server = Server::start(mode, &["--timeout=500ms"]);
        let _silent = server.connect();
        let mut slow = server.connect();
        slow.write_all(b"GET / HT").unwrap();
        server.get("/").expect(200);
        assert_eq!(server.stop().status, 0);
    }
}

#[test]
fn connections_beyond_the_most_wait_until_one_is_closed() {
    for mode in each_mode() {
        let server = Server::start(mode, &["--max-connections=1"]);
        let first = server.connect();
        let mut second = server.connect();
        write!(
            second,
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        .unwrap();
        drop(first);
        response(second).expect(200);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn nothing_is_left_of_requests_however_they_end() {
    const REQUESTS: usize = 40;
    for mode in each_mode() {
        // Each instance has a descriptor of the directory.
        let server = Server::start(mode, &["--dir=.", "--timeout=1h"]);
        server.get("/").expect(200);
        let before = server.descriptors();
        for path in ["/", "/none", "/trap", "/left", "/many"] {
            for _ in 0..REQUESTS {
                server.get(path);
            }
            let start = Instant::now();
            while server.descriptors() >= before + REQUESTS {
                assert!(start.elapsed() < HANGS, "{path}: {}", server.descriptors());
            }
        }
    }
}

#[test]
fn head_of_a_request_that_is_too_large_has_431() {
    for mode in each_mode() {
        let server = Server::start(mode, &[]);
        let large = format!("X: {}\r\n", "x".repeat(300_000));
        response(server.send_with("/", &large)).expect(431);
        server.get("/").expect(200);
    }
}

#[test]
fn request_without_a_valid_host_has_400() {
    for mode in each_mode() {
        let server = Server::start(mode, &[]);
        for host in [
            "",
            "Host: \u{e9}\r\n",
            "Host:\r\n",
            "Host: a b\r\n",
            "Host: a/b\r\n",
            "Host: a@b\r\n",
            "Host: a\r\nHost: b\r\n",
        ] {
            let mut stream = server.connect();
            write!(stream, "GET / HTTP/1.1\r\n{host}Connection: close\r\n\r\n").unwrap();
            response(stream).expect(400);
        }
        server.get("/").expect(200);
    }
}
