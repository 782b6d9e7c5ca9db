#!/usr/bin/env bash
# Looks at the captures with tshark and capinfos: what the README promises of each is there, no checksum is
# wrong, no packet is cut, no frame is longer than its MTU allows. Prints one line for each; ends with 1 if
# anything is amiss.
#
#   usage: check.sh [FOLDER]      needs no privilege; FOLDER defaults to the folder of this script
#
# It reads the files with a decoder of others, so it shares no code with the readers of this project.
set -euo pipefail

folder=${1:-$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)}
amiss=0
total=0

complain() { echo "$1: $2" >&2; amiss=1; }

# Two passes, so that a fragment knows the packet it becomes part of.
count() {
    tshark -r "$folder/$1" -n -2 -o ip.check_checksum:TRUE -o tcp.check_checksum:TRUE -o udp.check_checksum:TRUE \
        -Y "$2" -T fields -e frame.number 2>"$errors" | wc -l
}

bad_checksum='ip.checksum.status == "Bad" || tcp.checksum.status == "Bad" || udp.checksum.status == "Bad"
    || icmp.checksum.status == "Bad" || icmpv6.checksum.status == "Bad"'

# check FILE LONGEST_FRAME FILTER…: every filter must show at least one packet.
check() {
    local file=$1 longest=$2 filter
    shift 2
    [[ -s $folder/$file ]] || { complain "$file" "is missing"; return 0; }
    readable "$file" || return 0
    none "$file" "wrong checksums" "$bad_checksum"
    none "$file" "packets cut short" "frame.cap_len < frame.len"
    none "$file" "frames over $longest bytes" "frame.len > $longest"
    none "$file" "malformed packets" "_ws.malformed"
    (($(count "$file" "frame.len == $longest"))) || [[ $file == dns.pcap ]] || complain "$file" "no full-size frame"
    for filter in "$@"; do
        (($(count "$file" "$filter"))) || complain "$file" "nothing matches: $filter"
    done
    report "$file"
}

report() {
    local about packets bytes kind
    about=$(capinfos -M "$folder/$1" 2>"$errors")
    packets=$(sed -n 's/^Number of packets: *//p' <<<"$about")
    kind=$(sed -n 's/^File \(type\|encapsulation\|timestamp precision\): *//p' <<<"$about" \
        | sed 's/.* - //' | paste -sd ' ')
    bytes=$(stat -c %s "$folder/$1")
    total=$((total + bytes))
    printf '%-14s %4s packets %7s bytes  %s\n' "$1" "$packets" "$bytes" "$kind"
}

readable() {
    tshark -r "$folder/$1" -n -q -z io,phs >/dev/null 2>"$errors" && return
    complain "$1" "damaged: $(tail -n 1 "$errors")"
    return 1
}

none() {
    local found
    found=$(count "$1" "$3")
    ((found == 0)) || complain "$1" "$found $2"
}

errors=$(mktemp)
trap 'rm -f "$errors"' EXIT

check http.pcap 1514 'arp' 'http.request.uri contains "index.html"' 'http.request.uri contains "noise.png"' \
    'tcp.flags.fin == 1'
check dns.pcap 1514 'arp' 'dns.flags.rcode == 3' 'dns.aaaa' 'dns.txt' 'dns && tcp' 'dns.qry.type == 15'
check iperf-tcp.pcap 1514 'tcp.port == 5201 && tcp.len == 1448'
check iperf-udp.pcap 1442 'udp.srcport == 5201' 'udp.dstport == 5201'
check ping.pcap 1514 'arp.opcode == 1' 'arp.opcode == 2' 'ip.flags.mf == 1' 'icmp.type == 0 && ip.frag_offset > 0' \
    'icmp && ip.len == 28'
check ipv6.pcapng 1514 'icmpv6.type == 135' 'icmpv6.type == 136' 'ipv6.fraghdr.more == 1' 'ipv6 && http.request' \
    'ipv6 && dns'
check mixed.pcap 1514 'arp' 'http && ip' 'http && ipv6' 'dns' 'udp.port == 5201' 'icmp' 'ip.flags.mf == 1' \
    'icmpv6.type == 128' 'ipv6.fraghdr.more == 1'
check jumbo.pcap 9014 'http.response' 'tcp.len > 8000' 'icmp'
check vlan.pcap 1518 'vlan.id == 5 && icmp' 'vlan.id == 5 && arp' 'vlan.id == 5 && udp' 'vlan.id == 5 && ipv6'
check raw-ip.pcap 1500 'icmp' 'ip.flags.mf == 1' 'icmpv6' 'ipv6.fraghdr.more == 1' 'dns'

echo "$total bytes in all"
((total < 2000000)) || complain "$folder" "more than 2 MB of captures"
exit "$amiss"
