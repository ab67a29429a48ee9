//! Each file of `../traces` is what a program wrote to stderr, verbatim: of `OpenJDK` 17, `CPython` 3.11, Go 1.19,
//! Node.js 20, Ruby 3.1 and Rust 1.95 (with anyhow 1.0).

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use capture_common::Stream;

use crate::pipeline::multiline::{MultilineConfig, Preset};
use crate::pipeline::record::{Content, Origin, Record};

/// The events that a preset finds in a text. Joined, they are the text.
fn events(preset: Preset, text: &'static str) -> Vec<String> {
    let origin = Arc::new(Origin::new("a".into(), None, Arc::default()));
    let record = |line: &'static str| Record {
        origin: Arc::clone(&origin),
        stream: Stream::Stderr,
        timestamp: 0,
        completed: 0,
        position: 0,
        content: Content::Line {
            message: Bytes::from_static(line.as_bytes()),
            newline: true,
            partial: false,
            omitted: 0,
        },
        attributes: None,
    };
    let mut stage = MultilineConfig { preset: Some(preset), ..MultilineConfig::default() }.build().unwrap();
    let mut out = Vec::new();
    for line in text.lines() {
        stage.process(vec![record(line)], Instant::now(), &mut out);
    }
    stage.finish(&mut out);
    let message = |record: &Record| match &record.content {
        Content::Line { message, .. } => String::from_utf8(message.to_vec()).unwrap(),
        Content::Lines { .. } | Content::Gap { .. } => unreachable!("single lines, and nothing is missing"),
    };
    let events: Vec<_> = out.iter().map(message).collect();
    assert_eq!(events.join("\n"), text.strip_suffix('\n').unwrap_or(text));
    events
}

/// Asserts with which words each event begins.
#[track_caller]
fn assert_events(preset: Preset, text: &'static str, beginnings: &[&str]) {
    let events = events(preset, text);
    let as_expected = events.len() == beginnings.len()
        && events
            .iter()
            .zip(beginnings)
            .all(|(event, beginning)| event.starts_with(beginning) && event.is_empty() == beginning.is_empty());
    assert!(as_expected, "{events:#?}");
}

#[test]
fn java() {
    assert_events(
        Preset::Java,
        include_str!("../traces/java.txt"),
        &[
            "starting",
            "Nov 21, 2026 ",
            "SEVERE: order 7 failed",
            "Shop$Timeout: payment of 5 not made\nask the bank\n\tat Shop.charge(Shop.java:7)\n",
            "",
            "Nov 21, 2026 ",
            "INFO: order 8 done",
            "Shop$Timeout: payment of 6 not made\nask the bank\n",
            "next line",
            "Exception in thread \"worker-1\" java.lang.NullPointerException",
            "before the end",
            "Exception in thread \"main\" Shop$Timeout: payment of 7 not made\nask the bank\n",
        ],
    );
}

#[test]
fn java_in_a_log() {
    assert_events(
        Preset::Java,
        "2024-05-01 10:00:00.123  INFO 1 --- [main] c.e.shop.Shop : started\n\
         2024-05-01 10:00:01.456 ERROR 1 --- [http-1] c.e.shop.Orders : failed: java.io.IOException: Broken pipe\n\
         \tat java.base/sun.nio.ch.FileDispatcherImpl.write0(Native Method)\n\
         \tat com.example.shop.Orders$1.run(Orders.java:12) ~[shop.jar!/:1.0]\n\
         \t... 3 common frames omitted\n\
         Wrapped by: com.example.Failure: x\n\
         \tat com.example.Shop.main(Shop.java:1)\n\
         2024-05-01 10:00:02.000  INFO 1 --- [http-1] c.e.shop.Orders : Error: this is no trace\n\
         2024-05-01 10:00:03.000  INFO 1 --- [http-1] c.e.shop.Orders : neither is this",
        &["2024-05-01 10:00:00", "2024-05-01 10:00:01", "2024-05-01 10:00:02", "2024-05-01 10:00:03"],
    );
}

#[test]
fn dotnet() {
    assert_events(
        Preset::Java,
        "Unhandled exception. System.InvalidOperationException: no order\n \
          ---> System.Collections.Generic.KeyNotFoundException: The given key 'cup' was not present in the dictionary.\n   \
            at System.Collections.Generic.Dictionary`2.get_Item(TKey key)\n   \
            at Shop.Price(String item) in /src/Shop.cs:line 7\n   \
            --- End of inner exception stack trace ---\n   \
            at Shop.Main(String[] args) in /src/Shop.cs:line 12\n\
         next",
        &["Unhandled exception. ", "next"],
    );
}

#[test]
fn python() {
    assert_events(
        Preset::Python,
        include_str!("../traces/python.txt"),
        &[
            "starting",
            "2026-11-21 ",
            "Traceback (most recent call last):\n  File",
            "2026-11-21 ",
            "2026-11-21 ",
            "Traceback (most recent call last):\n  File",
            "2026-11-21 ",
            "2026-11-21 ",
            "  + Exception Group Traceback (most recent call last):\n",
            "2026-11-21 ",
            "2026-11-21 ",
            "Traceback (most recent call last):\n  File",
            "2026-11-21 ",
            "Traceback (most recent call last):\n  File",
            "2026-11-21 ",
            "Traceback (most recent call last):\n  File",
        ],
    );
    let chain = &events(Preset::Python, include_str!("../traces/python.txt"))[2];
    assert!(chain.ends_with("No such file or directory: '/nowhere/orders'"), "{chain}");
    assert_eq!(chain.matches("Traceback").count(), 3);
}

#[test]
fn python_code_that_is_none() {
    assert_events(
        Preset::Python,
        include_str!("../traces/python-syntax.txt"),
        &["  File \"/srv/shop/py/broken.py\", line 1"],
    );
}

#[test]
fn python_lines_that_are_no_part() {
    assert_events(
        Preset::Python,
        "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\nKeyboardInterrupt\n\nbye\n\
         Traceback (most recent call last):\n  File \"a.py\", line 1, in f\na.<locals>.Sold\n\
         Traceback (most recent call last):\n  File \"a.py\", line 2, in g\n[12:00] a line of another thread",
        &["Traceback", "", "bye", "Traceback", "Traceback", "[12:00]"],
    );
}

#[test]
fn go() {
    for (text, beginning) in [
        (include_str!("../traces/go-nil.txt"), "panic: runtime error: invalid memory address"),
        (include_str!("../traces/go-goroutine.txt"), "panic: no stock: tea\n\ngoroutine"),
        (include_str!("../traces/go-deadlock.txt"), "fatal error: all goroutines are asleep"),
        (include_str!("../traces/go-repanic.txt"), "panic: first [recovered]\n\tpanic: again: first\n\ngoroutine 1"),
    ] {
        assert_events(Preset::Go, text, &["starting", beginning]);
    }
    let http = include_str!("../traces/go-http.txt");
    assert_events(Preset::Go, http, &["starting", "2026/11/21 ", "2026/11/21 "]);
    assert!(events(Preset::Go, http)[1].ends_with("server.go:3102 +0x4db"));
    let stack = include_str!("../traces/go-stack.txt");
    assert_events(Preset::Go, stack, &["starting", "2026/11/21 ", "goroutine 1 [running]:", "2026/11/21 "]);
}

#[test]
fn go_with_several_goroutines() {
    // SIGQUIT, as Go 1.23 writes it.
    assert_events(
        Preset::Go,
        "SIGQUIT: quit\nPC=0x46b3c1 m=0 sigcode=0\n\n\
         goroutine 0 gp=0x5532e0 m=0 mp=0x553f40 [idle]:\nruntime.futex(0x554078, 0x80, 0x0, 0x0, 0x0, 0x0)\n\
         \t/usr/local/go/src/runtime/sys_linux_amd64.s:558 +0x21 fp=0x7ffc1 sp=0x7ffc0 pc=0x46b3c1\n\n\
         goroutine 1 gp=0xc0000061c0 m=nil [sleep, 2 minutes]:\ntime.Sleep(0x34630b8a000)\n\
         \t/usr/local/go/src/runtime/time.go:300 +0xf2\nmain.main()\n\t/app/main.go:6 +0x1d\n\n\
         rax    0xca\nrip    0x46b3c1\nexit status 2\nnext (line)\npanic: done\nnext",
        &["SIGQUIT: quit", "next (line)", "panic: done", "next"],
    );
}

#[test]
fn node() {
    assert_events(
        Preset::Node,
        include_str!("../traces/node.txt"),
        &[
            "starting",
            "Error: login failed\n",
            "next line",
            "Error: ENOENT: ",
            "next line",
            "Error: Cannot find module 'nothing-here'\nRequire stack:\n- /srv/shop/node/shop.js\n    at ",
            "several",
            "AggregateError: both failed\n",
            "next line",
            "Error: one\ntwo lines\n    at ",
            "before the end",
        ],
    );
    let place = "/srv/shop/node/uncaught.js:3\n  throw new Error('boom');\n  ^\n\nError: boom\n    at f";
    for (text, beginning) in [
        (include_str!("../traces/node-uncaught.txt"), place),
        (include_str!("../traces/node-reject.txt"), "/srv/shop/node/reject.js:2\n"),
        (include_str!("../traces/node-reject2.txt"), "node:internal/process/promises:389\n"),
    ] {
        assert_events(Preset::Node, text, &["starting", beginning]);
    }
}

#[test]
fn node_lines_that_are_no_part() {
    assert_events(
        Preset::Node,
        "Error: not a trace\nnext\n\n/healthz:80\nnext\nnext\nnext\n(node:7) Warning: x\n    at f (a.js:1:1)\nnext",
        &["Error: not a trace", "next", "", "/healthz:80", "next", "next", "next", "(node:7) Warning: x\n", "next"],
    );
}

#[test]
fn ruby() {
    assert_events(
        Preset::Ruby,
        include_str!("../traces/ruby.txt"),
        &[
            "I, [",
            "E, [",
            "I, [",
            "#<Thread:0x",
            "I, [",
            "a.rb:7:in `rescue in order': no price for cup (ArgumentError)\n\tfrom",
        ],
    );
    let events = events(Preset::Ruby, include_str!("../traces/ruby.txt"));
    assert!(events[1].ends_with("a.rb:11:in `<main>'"), "{events:#?}");
    assert!(events[3].ends_with("^^^^^^^"), "{events:#?}");
    assert!(events[5].contains("key not found: :cup (KeyError)"), "the cause is a part of it");
    assert_events(Preset::Ruby, include_str!("../traces/ruby-name.txt"), &["starting", "b.rb:3:in `total'"]);
}

#[test]
fn rails() {
    assert_events(
        Preset::Ruby,
        "Completed 500 Internal Server Error in 5ms (ActiveRecord: 0.0ms)\n\
         NoMethodError (undefined method `total' for nil:NilClass):\n  \n\
         app/controllers/orders_controller.rb:69:in `show'\n\
         [7f3c] ActionController::RoutingError (No route matches [GET] \"/x\"):\n  \n  \
         actionpack (5.1.4) lib/action_dispatch/middleware/debug_exceptions.rb:63:in `call'\n  \
         rack (2.0.3) lib/rack/runtime.rb:22:in `call'\n\
         Started GET \"/\" for 127.0.0.1",
        &["Completed 500", "NoMethodError (", "[7f3c] ActionController", "Started GET"],
    );
    // From 3.4 on methods stand in straight quotes, with their class.
    assert_events(
        Preset::Ruby,
        "b.rb:3:in 'Shop#total': undefined method 'sun' for an instance of Array (NoMethodError)\n\n  list.sun\n      ^^^^\n\
         \tfrom b.rb:5:in '<main>'\nnext",
        &["b.rb:3:in 'Shop#total'", "next"],
    );
}

#[test]
fn rust() {
    assert_events(Preset::Rust, include_str!("../traces/rust-error.txt"), &["starting", "Error: starting the shop\n"]);
    let backtrace = include_str!("../traces/rust-error-backtrace.txt");
    assert_events(Preset::Rust, backtrace, &["starting", "Error: starting the shop\n\nCaused by:\n"]);
    for text in [include_str!("../traces/rust-thread.txt"), include_str!("../traces/rust-thread-backtrace.txt")] {
        assert_events(Preset::Rust, text, &["starting", "", "thread 'worker-1' (", "goes on"]);
    }
}

#[test]
fn rust_of_other_versions() {
    assert_events(
        Preset::Rust,
        "thread 'main' panicked at 'index out of bounds: the len is 1 but the index is 7', src/main.rs:2:32\n\
         note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n\
         thread '<unnamed>' panicked at src/main.rs:2:32:\nno price\nstack backtrace:\n   0: a\n             at b\n\
         note: Some details are omitted\nnext\nError: just a line\nnext\nError: no shop\n\nLocation:\n    src/main.rs:5:9\n\n\
         Backtrace omitted. Run with RUST_BACKTRACE=1 to display it.\nnext",
        &[
            "thread 'main'",
            "thread '<unnamed>'",
            "next",
            "Error: just a line",
            "next",
            "Error: no shop\n\nLocation:\n",
            "next",
        ],
    );
}

#[test]
fn indentation() {
    assert_events(
        Preset::Indentation,
        "LOG:  statement: SELECT a,\n\t  b\n\tFROM c\n{\n  \"a\": [\n    1\n  ]\n}\na\n\n  b\n\nc\n\n\n",
        &["LOG:  statement", "{\n  \"a\": [", "a\n\n  b", "", "c", "", ""],
    );
}
