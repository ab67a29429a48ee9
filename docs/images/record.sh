#!/usr/bin/env bash
# Records the README's terminal session anew, from a real run on this machine, with an image `busybox` in its engine:
#     pip install asciinema termtosvg-ng
#     cd docs/images && asciinema rec --cols 112 --rows 34 --idle-time-limit 2 --overwrite --command ./record.sh quickstart.cast
#     sed -i "s#$(git rev-parse --show-toplevel)/#~/capture-agent/#" quickstart.cast
#     termtosvg-ng render quickstart.cast quickstart.svg -m 150 -M 2000 -D 5000
cd "$(dirname "$0")/../.." || exit 1

run() {
    printf '\e[32m$\e[0m '
    for ((i = 0; i < ${#1}; i++)); do
        printf '%s' "${1:i:1}"
        sleep 0.02
    done
    sleep 0.4
    printf '\n'
    eval "$1"
    sleep "${2:-1}"
}

run 'cargo xtask image'
printf '\e[90m# Docker 20.10 of Debian: SYS_ADMIN stands for BPF and PERFMON\e[0m\n'
run 'docker run --detach --name capture-agent --pid host --network host \
    --read-only --cap-drop ALL --cap-add SYS_ADMIN --cap-add SYS_PTRACE --cap-add DAC_READ_SEARCH --cap-add SYS_NICE \
    --security-opt no-new-privileges --security-opt apparmor=unconfined --log-driver local \
    --volume /sys/fs/cgroup:/sys/fs/cgroup:ro --volume /var/run/docker.sock:/var/run/docker.sock:ro \
    --volume capture-agent:/var/lib/capture-agent capture-agent:latest run --format text' 2
run "docker run --rm --network none --name web --label team=shop --log-driver none busybox \\
    sh -c 'echo \"GET / 200\"; echo \"disk low\" >&2'" 2
run 'docker logs capture-agent'
run "curl --silent 127.0.0.1:8001/metrics | grep -E 'written_bytes.*web|lost_bytes.*web.*ring_full'" 3
docker rm --force capture-agent >/dev/null
docker volume rm capture-agent >/dev/null
