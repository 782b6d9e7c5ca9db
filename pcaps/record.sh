#!/usr/bin/env bash
# Records the captures of this folder again: real programs talk over a veth pair between two network
# namespaces while tcpdump (or dumpcap) listens on the left end.
#
#   usage: record.sh [FOLDER]      as root; FOLDER defaults to the folder of this script
#
# Nothing reaches FOLDER unless every capture was recorded and passed check.sh. Offloads are off on both ends,
# so that what is recorded is what a wire would carry: whole frames with finished checksums, none longer than
# the MTU. The host's own interfaces, routes and services are left alone; namespaces and processes go away on
# exit, also on error.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=${1:-$here}
left=sealane-left-$$
right=sealane-right-$$
work=
pids=()
recorder=

die() { echo "record.sh: $*" >&2; exit 1; }

# --- what is needed, and what is left behind: nothing ---------------------------------------------

# dnsmasq-base is the program alone: the dnsmasq package would start a server on the host.
install_programs() {
    local program missing=()
    for program in iperf3 dnsmasq dig curl tcpdump ethtool ip tshark capinfos dumpcap ping sysctl python3; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    ((${#missing[@]})) || return 0
    echo "installing what is missing: ${missing[*]}"
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends \
        iperf3 dnsmasq-base bind9-dnsutils curl tcpdump ethtool iproute2 tshark wireshark-common iputils-ping \
        procps python3
}

end_process() {
    kill "$1" 2>/dev/null || true
    local tries=40
    while kill -0 "$1" 2>/dev/null && ((tries--)); do sleep 0.05; done
    kill -KILL "$1" 2>/dev/null || true
    wait "$1" 2>/dev/null || true
}

clean_up() {
    local status=$? pid
    trap - EXIT INT TERM
    for pid in "${pids[@]}" $recorder; do end_process "$pid"; done
    ip netns del "$left" 2>/dev/null || true
    ip netns del "$right" 2>/dev/null || true
    if ((status)) && [[ -n $work ]]; then tail -n 5 "$work"/*.log >&2 || true; fi
    if [[ -n $work ]]; then rm -rf "$work"; fi
    exit "$status"
}

# `ip netns exec` replaces itself by the program, so the remembered process id is the program's own.
background() {
    local log=$1
    shift
    "$@" >"$work/$log.log" 2>&1 </dev/null &
    pids+=($!)
}

in_left() { ip netns exec "$left" "$@"; }
in_right() { ip netns exec "$right" "$@"; }

# wait_until SECONDS DESCRIPTION COMMAND…: a recording must not begin before the listener is there.
wait_until() {
    local tries=$(($1 * 20)) what=$2
    shift 2
    until "$@"; do
        ((tries--)) || die "$what did not come in time"
        sleep 0.05
    done
}

says() { grep -q "$2" "$work/$1.log" 2>/dev/null; }

# --- two hosts and a cable ------------------------------------------------------------------------

quiet_namespace() {
    ip netns exec "$1" sysctl -q -w net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 \
        net.ipv6.conf.default.router_solicitations=0 net.ipv6.conf.default.autoconf=0
    ip -n "$1" link set lo up
}

# end_of_cable NAMESPACE DEVICE NET PEER_NET HOST: NET and PEER_NET are 1 and 2 for the left end, 2 and 1 for
# the right. The peer's prefix is on link, so no router stands between the two.
end_of_cable() {
    local ns=$1 device=$2 net=$3 peer=$4 host=$5
    ip -n "$ns" address add "10.0.$net.$host/32" dev "$device"
    ip -n "$ns" address add "fd00:$net::$host/128" dev "$device" nodad
    ip -n "$ns" link set "$device" up
    ip -n "$ns" route add "10.0.$peer.$host/32" dev "$device" src "10.0.$net.$host"
    ip -n "$ns" -6 route add "fd00:$peer::$host/128" dev "$device" src "fd00:$net::$host"
}

lay_cable() {
    ip netns add "$left"
    ip netns add "$right"
    quiet_namespace "$left"
    quiet_namespace "$right"
    ip -n "$left" link add veth0 address 02:00:00:00:01:10 type veth \
        peer name veth0 address 02:00:00:00:02:10 netns "$right"
    local ns
    for ns in "$left" "$right"; do
        ip netns exec "$ns" ethtool -K veth0 rx off tx off sg off tso off gso off gro off >/dev/null
        ip netns exec "$ns" ethtool -K veth0 lro off >/dev/null 2>&1 || true # fixed to off on many kernels
    done
    attach_networks "$left" 1 2
    attach_networks "$right" 2 1
}

attach_networks() {
    local ns=$1 net=$2 peer=$3
    ip -n "$ns" address add "10.0.$net.10/24" dev veth0
    ip -n "$ns" address add "fd00:$net::10/64" dev veth0 nodad
    ip -n "$ns" link set veth0 up
    ip -n "$ns" route add "10.0.$peer.0/24" dev veth0 src "10.0.$net.10"
    ip -n "$ns" -6 route add "fd00:$peer::/64" dev veth0 src "fd00:$net::10"
}

mtu() {
    ip -n "$left" link set veth0 mtu "$1"
    ip -n "$right" link set veth0 mtu "$1"
}

# A real device where the kernel has 802.1Q, otherwise vlan_link.py; the frames on the cable are the same,
# also in their MAC addresses, which a VLAN device takes from the one below it.
lay_vlan() {
    local ns id=5 mac
    for ns in "$left" "$right"; do
        if ! ip -n "$ns" link add link veth0 name vlan5 type vlan id "$id" 2>/dev/null; then
            [[ $ns == "$right" ]] || echo "this kernel has no 802.1Q device: vlan_link.py tags the frames"
            background "vlan-$ns" ip netns exec "$ns" python3 "$here/vlan_link.py" veth0 vlan5 "$id"
            wait_until 5 "the VLAN device" says "vlan-$ns" ready
            mac=$(ip netns exec "$ns" cat /sys/class/net/veth0/address)
            ip -n "$ns" link set vlan5 address "$mac"
        fi
        ip netns exec "$ns" ethtool -K vlan5 tx off sg off tso off gso off gro off >/dev/null 2>&1 || true
    done
    end_of_cable "$left" vlan5 1 2 20
    end_of_cable "$right" vlan5 2 1 20
}

lay_tun() {
    background tun python3 "$here/tun_link.py" "$left" "$right" tun0
    wait_until 5 "the TUN devices" says tun ready
    end_of_cable "$left" tun0 1 2 30
    end_of_cable "$right" tun0 2 1 30
}

# --- the programs on the right --------------------------------------------------------------------

make_site() {
    python3 - "$work/site" <<'PYTHON'
import os, random, struct, sys, zlib

def png(side):
    """Noise: it does not compress, as a photograph would not."""
    noise = random.Random(1)
    rows = b"".join(b"\0" + noise.randbytes(3 * side) for _ in range(side))
    def chunk(kind, body):
        return struct.pack("!I", len(body)) + kind + body + struct.pack("!I", zlib.crc32(kind + body))
    head = struct.pack("!IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")

site = {
    "index.html": b"<!doctype html><title>Sealane</title><link rel=stylesheet href=style.css>\n"
                  + b"<p>A page to be carried through a tunnel.</p>\n" * 40 + b"<img src=noise.png alt=noise>\n",
    "style.css": b"".join(b".lane%d { margin-left: %dpx }\n" % (i, i) for i in range(100)),
    "noise.png": png(96),
    "large.bin": random.Random(2).randbytes(150_000),
}
os.mkdir(sys.argv[1])
for name, body in site.items():
    with open(os.path.join(sys.argv[1], name), "wb") as file:
        file.write(body)
PYTHON
}

listens() { in_right ss -Hltn "sport = :$1" | grep -q .; }

start_servers() {
    background http ip netns exec "$right" python3 -m http.server 80 --bind :: --directory "$work/site"
    background iperf3 ip netns exec "$right" iperf3 --server
    background dnsmasq ip netns exec "$right" dnsmasq --keep-in-foreground --user=root --pid-file="$work/dnsmasq.pid" \
        --conf-file=/dev/null --no-resolv --no-hosts --local=/example.test/ \
        --host-record=web.example.test,10.0.2.10,fd00:2::10 --host-record=client.example.test,10.0.1.10,fd00:1::10 \
        --cname=www.example.test,web.example.test --mx-host=example.test,web.example.test,10 \
        --srv-host=_http._tcp.example.test,web.example.test,80 \
        --txt-record=example.test,"v=spf1 -all" --txt-record=long.example.test,"$(printf 'sealane %.0s' {1..28})"
    wait_until 10 "the web server" listens 80
    wait_until 10 "the iperf3 server" listens 5201
    wait_until 10 "the name server" listens 53
}

# --- the programs on the left: each is one conversation -------------------------------------------

browse() {
    local path
    for path in index.html style.css noise.png; do
        in_left curl -sSf --max-time 10 -o /dev/null -g "http://$1/$path"
    done
}

download() { in_left curl -sSf --max-time 10 -o /dev/null -g "http://$1/large.bin"; }

# A name that does not exist is an answer too: dig ends with 0 for it.
ask() { in_left dig +tries=1 +time=3 "@$1" "${@:2}" >/dev/null; }

look_up() {
    ask "$1" web.example.test A
    ask "$1" web.example.test AAAA
    ask "$1" www.example.test A
    ask "$1" example.test MX
    ask "$1" _http._tcp.example.test SRV
    ask "$1" long.example.test TXT
    ask "$1" +tcp example.test TXT
    ask "$1" -x 10.0.2.10
    ask "$1" missing.example.test A
}

# echoes ADDRESS SIZE…: two of each size, in bytes of ICMP payload.
echoes() {
    local size
    for size in "${@:2}"; do
        in_left ping -q -n -c 2 -i 0.2 -W 3 -s "$size" "$1" >/dev/null
    done
}

stream() { in_left iperf3 --client "$@" >/dev/null; }

# --- recording ------------------------------------------------------------------------------------

# Every capture begins with address resolution: neighbours learnt in the one before are forgotten.
forget_neighbours() {
    ip -n "$left" neighbour flush all
    ip -n "$right" neighbour flush all
}

start_recorder() {
    local file=$1 device=$2 log
    log=record-$(basename "$file")
    if [[ $file == *.pcapng ]]; then
        ip netns exec "$left" dumpcap -q -p -s 0 -i "$device" -w "$file" >"$work/$log.log" 2>&1 &
    else
        ip netns exec "$left" tcpdump -Z root -U --immediate-mode -p -n -s 0 -i "$device" -w "$file" \
            >"$work/$log.log" 2>&1 &
    fi
    recorder=$!
    wait_until 10 "the recorder" says "$log" "^tcpdump: listening\|^File: "
}

# The end of a connection and the last neighbour probe come after the program has ended, so the file must stay
# as it is for a second before the recorder is stopped.
stop_recorder() {
    local file=$1 size=-1 now
    while now=$(stat -c %s "$file") && ((now != size)); do
        size=$now
        sleep 1
    done
    # Not INT: a shell starts what runs in its background with that signal ignored.
    kill -TERM "$recorder"
    wait "$recorder" || die "the recorder of $file failed"
    recorder=
    ! grep -E "^[1-9][0-9]* packets? dropped" "$work/record-$(basename "$file").log" || die "$file has gaps"
}

# record FILE SCENE [DEVICE]
record() {
    local file=$work/$1
    echo "recording $1"
    forget_neighbours
    start_recorder "$file" "${3:-veth0}"
    "$2"
    stop_recorder "$file"
}

scene_http() { browse 10.0.2.10; }
scene_dns() { look_up 10.0.2.10; }
scene_iperf_tcp() { stream 10.0.2.10 -n 200K -l 8K; }
scene_iperf_udp() {
    stream 10.0.2.10 -u -b 20M -n 120K -l 1400
    stream 10.0.2.10 -u -b 20M -n 60K -l 512 -R
}
scene_ping() { echoes 10.0.2.10 0 1 56 511 1472 1473 4000; }
scene_ipv6() {
    echoes fd00:2::10 0 56 1452 4000
    browse "[fd00:2::10]"
    look_up fd00:2::10
}
scene_jumbo() {
    echoes 10.0.2.10 8972
    download 10.0.2.10
}
scene_vlan() {
    echoes 10.0.2.20 56 1472
    echoes fd00:2::20 56
    look_up 10.0.2.20
    stream 10.0.2.20 -u -b 20M -n 20K -l 1000
}
scene_raw_ip() {
    echoes 10.0.2.30 56 1472 4000
    echoes fd00:2::30 56 4000
    look_up 10.0.2.30
}
scene_mixed() {
    echoes 10.0.2.10 56 1400 4000
    look_up 10.0.2.10
    browse 10.0.2.10
    stream 10.0.2.10 -u -b 20M -n 100K -l 600
    stream 10.0.2.10 -u -b 20M -n 40K -l 160 -R
    echoes fd00:2::10 56 4000
    browse "[fd00:2::10]"
    stream fd00:2::10 -n 40K -l 4K
}

record_all() {
    record http.pcap scene_http
    record dns.pcap scene_dns
    record iperf-tcp.pcap scene_iperf_tcp
    record iperf-udp.pcap scene_iperf_udp
    record ping.pcap scene_ping
    record ipv6.pcapng scene_ipv6
    record mixed.pcap scene_mixed
    mtu 9000
    record jumbo.pcap scene_jumbo
    mtu 1500
    lay_vlan
    record vlan.pcap scene_vlan
    lay_tun
    record raw-ip.pcap scene_raw_ip tun0
}

[[ $EUID -eq 0 ]] || die "namespaces and packet sockets need root"
[[ -d $target ]] || die "no such folder: $target"
trap clean_up EXIT
trap 'exit 130' INT TERM
install_programs
work=$(mktemp -d)
lay_cable
make_site
start_servers
record_all
"$here/strip_host.py" "$work/ipv6.pcapng"
"$here/check.sh" "$work"
chmod 644 "$work"/*.pcap "$work"/*.pcapng
cp "$work"/*.pcap "$work"/*.pcapng "$target"/
