# Sourced by the other scripts: where things are, how to say things, what must be installed.
# shellcheck shell=bash

TG_ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck disable=SC2034 # for those that source this
TG_TARGET=${CARGO_TARGET_DIR:-$TG_ROOT/target}
# Unpacked servers live here; what one lab needs while it is up is under state-NAME in it.
TG_LAB_DIR=${TG_LAB_DIR:-$TG_ROOT/target/lab}
export DEBIAN_FRONTEND=noninteractive
# Where ip and ethtool are, for users whose PATH has only what they may run.
export PATH=$PATH:/usr/sbin:/sbin

say() { printf '%s\n' "$*"; }
warn() { printf '%s\n' "$*" >&2; }
die() { warn "${0##*/}: $*"; exit 1; }

# as_root COMMAND...: directly, or through sudo.
as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -E env "PATH=$PATH" "$@"; fi
}

# The Debian package that has COMMAND.
package_of() {
    case $1 in
        dumpcap | tshark | capinfos | mergecap) echo tshark ;;
        ip) echo iproute2 ;;
        nft) echo nftables ;;
        ps | sysctl) echo procps ;;
        cc) echo gcc ;;
        mount) echo mount ;;
        ping) echo iputils-ping ;;
        *) echo "$1" ;;
    esac
}

apt_updated=no
apt_update_once() {
    [ "$apt_updated" = yes ] && return
    as_root apt-get -qq update || warn "apt-get update failed; going on with the lists that are there"
    apt_updated=yes
}

# need_commands COMMAND...: installs the packages of those that are missing, and lists them.
need_commands() {
    local missing=() c
    for c in "$@"; do
        command -v "$c" >/dev/null || missing+=("$(package_of "$c")")
    done
    [ ${#missing[@]} = 0 ] && return
    mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
    say "installing: ${missing[*]}"
    command -v apt-get >/dev/null || die "please install: ${missing[*]} (this is no Debian, apt-get is missing)"
    apt_update_once
    as_root apt-get -qq install -y --no-install-recommends "${missing[@]}" >/dev/null ||
        die "apt-get could not install: ${missing[*]}"
}

# need_rust: cargo, from the path or the usual place.
need_rust() {
    command -v cargo >/dev/null && return
    [ -x "$HOME/.cargo/bin/cargo" ] && PATH=$HOME/.cargo/bin:$PATH && return
    die "cargo is missing: install Rust (https://rustup.rs), then run this again"
}

# beside RUN ENDED NAME...: runs RUN NAME for each, two at a time, in this order, each in a lab of its own by TG_LAB; calls
# ENDED NAME STATUS here when it has ended.
beside() {
    local run=$1 ended=$2 name free=(a b)
    local -A beside_lane=() beside_name=()
    shift 2
    for name in "$@"; do
        [ ${#free[@]} -gt 0 ] || beside_one "$ended"
        (
            # Or Ctrl-C would not reach what runs in the background; and what takes its lab down is waited for.
            trap : INT
            export TG_LAB=${TG_LAB:-tg}-${free[0]}
            "$run" "$name"
        ) &
        beside_lane[$!]=${free[0]} beside_name[$!]=$name
        free=("${free[@]:1}")
    done
    while [ ${#beside_lane[@]} -gt 0 ]; do beside_one "$ended"; done
}
# For beside, whose variables these are: waits until one has ended.
beside_one() {
    local pid status
    wait -n -p pid "${!beside_lane[@]}"
    status=$?
    "$1" "${beside_name[$pid]}" "$status"
    free+=("${beside_lane[$pid]}")
    unset "beside_lane[$pid]" "beside_name[$pid]"
}

# unpack PACKAGE...: puts a Debian package's files under $TG_LAB_DIR/root without installing it, so that
# no service starts and nothing on the host changes.
unpack() {
    local package unpacking
    mkdir -p "$TG_LAB_DIR/root" "$TG_LAB_DIR/debs"
    # Two labs may want the same one at once.
    exec {unpacking}>"$TG_LAB_DIR/debs/lock"
    flock "$unpacking"
    for package in "$@"; do
        [ -e "$TG_LAB_DIR/debs/$package.done" ] && continue
        say "unpacking $package under ${TG_LAB_DIR#"$TG_ROOT"/}"
        rm -f "$TG_LAB_DIR/debs/$package"_*.deb
        # apt's own sandbox user may not be able to write there; its warning about that is of no use.
        (cd "$TG_LAB_DIR/debs" && apt-get -qq download "$package" 2>/dev/null) || {
            apt_update_once
            (cd "$TG_LAB_DIR/debs" && apt-get -qq download "$package" 2>/dev/null)
        } || die "cannot download the package $package"
        dpkg -x "$TG_LAB_DIR/debs/$package"_*.deb "$TG_LAB_DIR/root" || die "cannot unpack $package"
        touch "$TG_LAB_DIR/debs/$package.done"
    done
    exec {unpacking}>&-
}

# Where the unpacked programs find the unpacked libraries.
unpacked_libraries() {
    local arch
    arch=$(dpkg-architecture -qDEB_HOST_MULTIARCH 2>/dev/null || gcc -dumpmachine 2>/dev/null || echo x86_64-linux-gnu)
    echo "$TG_LAB_DIR/root/usr/lib/$arch:$TG_LAB_DIR/root/lib/$arch"
}

# unpack_program PROGRAM-PATH PACKAGE...: unpacks, then the packages of the libraries that are missing.
unpack_program() {
    local program=$TG_LAB_DIR/root/$1 soname round
    shift
    unpack "$@"
    for round in 1 2 3; do
        local missing=()
        while read -r soname _; do
            case $soname in
                libwrap.so.0) missing+=(libwrap0) ;;
                libnsl.so.2) missing+=(libnsl2) ;;
                libtirpc.so.3) missing+=(libtirpc3 libtirpc-common) ;;
                libecap.so.3) missing+=(libecap3) ;;
                libnetfilter_conntrack.so.3) missing+=(libnetfilter-conntrack3) ;;
                libnfnetlink.so.0) missing+=(libnfnetlink0) ;;
                libmnl.so.0) missing+=(libmnl0) ;;
                libhiredis.so.0.14) missing+=(libhiredis0.14) ;;
                libmemcached.so.11) missing+=(libmemcached11) ;;
                libmemcachedutil.so.2) missing+=(libmemcachedutil2) ;;
                libhashkit.so.2) missing+=(libhashkit2) ;;
                libpcre2-posix.so.3) missing+=(libpcre2-posix3) ;;
                libltdl.so.7) missing+=(libltdl7) ;;
                libtdb.so.1) missing+=(libtdb1) ;;
                libpam.so.0) missing+=(libpam0g) ;;
                libcap.so.2) missing+=(libcap2) ;;
                libssl.so.3) missing+=(libssl3) ;;
                libaudit.so.1) missing+=(libaudit1) ;;
                libcap-ng.so.0) missing+=(libcap-ng0) ;;
                libldap-2.5.so.0 | liblber-2.5.so.0) missing+=(libldap-2.5-0) ;;
                libsasl2.so.2) missing+=(libsasl2-2 libsasl2-modules-db) ;;
                libgssapi_krb5.so.2) missing+=(libgssapi-krb5-2) ;;
                libtomcrypt.so.1) missing+=(libtomcrypt1) ;;
                libtommath.so.1) missing+=(libtommath1) ;;
                libgmp.so.10) missing+=(libgmp10) ;;
                *) die "$program needs $soname, which is not here and in no package that this script knows" ;;
            esac
        done < <(LD_LIBRARY_PATH=$(unpacked_libraries) ldd "$program" | grep 'not found')
        [ ${#missing[@]} = 0 ] && return
        unpack "${missing[@]}"
        [ "$round" = 3 ] && die "$program still misses libraries"
    done
}
