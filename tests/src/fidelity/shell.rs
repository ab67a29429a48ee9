//! Busybox and the shell: what containers really run.

use super::{case::Case, programs::text_data};

/// Cases whose bytes are known, then those that are compared with the engine's log alone.
pub(super) fn cases() -> Vec<Case> {
    let text = text_data();
    let yes: Vec<u8> = b"y\n".repeat(5000);
    let counted = (1..=2000).map(|number| format!("{number}\n")).collect::<Vec<_>>().concat();
    let known = [
        sh("sh-echo", "echo out; echo err >&2; echo -n rest").out("out\nrest").err("err\n"),
        sh("sh-printf", r"printf 'a\0b\377\n%s' end").out(*b"a\0b\xff\nend"),
        sh("sh-loop", "i=1; while [ $i -le 2000 ]; do echo $i; i=$((i+1)); done").out(counted.clone()),
        sh("sh-seq", "seq 2000; seq 2000 >&2").out(counted.clone()).err(counted),
        sh("yes-head", "yes | head -n 5000").out(yes),
        sh("cat", "cat /text").out(text.clone()).relay(),
        sh("cat-stderr", "cat /text >&2").out("").err(text.clone()).relay(),
        sh("cat-dev-stdout", "cat < /text > /dev/stdout").out(text.clone()).relay(),
        sh("cat-cat", "cat /text | cat").out(text.clone()).relay(),
        sh("cat-and-echo", "for i in 1 2 3 4 5; do echo $i; cat /entrypoint.sh; done; echo end")
            .out(five_scripts())
            .relay(),
        sh("dd", "dd if=/text bs=777 2>/dev/null").out(text.clone()),
        sh("dd-1m", "dd if=/text bs=1M 2>/dev/null").out(text.clone()),
        sh("tee", "tee /dev/stderr < /text").out(text.clone()).err(text.clone()),
        sh("pipe", "sed s/a/a/ /text | grep -a '' | tee /dev/null | dd 2>/dev/null")
            // grep ends the last line.
            .out([text.as_slice(), b"\n"].concat()),
        sh("to-proc-1", "dd if=/text of=/proc/1/fd/1 2>/dev/null; echo x > /proc/1/fd/2").out(text.clone()).err("x\n"),
        sh("nginx", "ln -s /dev/stdout /a; ln -s /dev/stderr /e; echo get >> /a; echo bad >> /e; echo end > /a")
            .out("get\nend\n")
            .err("bad\n"),
        sh("crossed-sh", "echo a 1>&2; echo b 2>&1; (echo c >&2) 2>&1; { echo d; echo e >&2; } 3>&1 1>&2 2>&3")
            .out("b\nc\ne\n")
            .err("a\nd\n"),
        sh(
            "exec-away",
            "echo a; exec 3>&1 >/dev/null; echo foreign; exec >&3; echo b; exec >&-; echo no 2>/dev/null || true",
        )
        .out("a\nb\n"),
        sh("inner", "x=$(echo inner; cat /text | wc -c); echo foreign > /f; echo $x")
            .out(format!("inner {}\n", text.len())),
        sh("background", "(sleep 0.2; echo late) & (setsid sh -c 'echo far' &) ; sleep 0.1; echo near; wait")
            .out("far\nnear\nlate\n"),
        sh("trap", "trap 'echo bye' EXIT; echo hello").out("hello\nbye\n"),
        sh("exit-at-once-sh", "echo x").out("x\n"),
        sh("no-newline", "printf x").out("x"),
        sh("newlines", "printf '\\n\\n\\na\\n\\n'").out("\n\n\na\n\n"),
        sh("silent", "true").out("").err(""),
        sh("edge-16k", "head -c 16384 /dev/zero | tr '\\0' a; echo; head -c 16385 /dev/zero | tr '\\0' b; echo")
            .out([&b"a".repeat(16384)[..], b"\n", &b"b".repeat(16385), b"\n"].concat())
            .relay(),
    ];
    let as_engine = [
        sh("random", "head -c 300000 /dev/urandom").relay(),
        sh("cat-bytes", "cat /bytes; cat /bytes >&2").relay(),
        sh("dd-bytes", "dd if=/bytes bs=1000 2>/dev/null"),
        sh(
            "applets",
            "ls -lR /bin; busybox; ps; id; env; awk 'BEGIN{for(i=0;i<999;i++)print i}'; base64 /bytes; od /bytes",
        ),
        sh("archives", "tar c /text; gzip -c /text; gunzip -c < /dev/null; cp /text /dev/stdout; tail -c 5000 /text")
            .relay()
            .may_fail(),
        sh("xargs", "seq 300 | xargs -n 1 echo; find /etc /tmp -exec echo {} \\;"),
        sh("errors", "ls /none; nosuch; cat /none; sh -c 'exit 3'").may_fail(),
        sh("traced", "set -x; for i in 1 2 3; do echo $i; done"),
    ];
    known.into_iter().chain(as_engine).collect()
}

fn five_scripts() -> String {
    let script = "#!/bin/sh\necho entrypoint\nexec \"$@\"\n";
    (1..=5).map(|number| format!("{number}\n{script}")).collect::<Vec<_>>().concat() + "end\n"
}

fn sh(name: &str, script: &str) -> Case {
    Case::new(name, &["sh", "-c", script])
}
