# shellcheck shell=bash
# An XDP program that lets every packet pass, as an object file, without a compiler: the testbed is set up before (and
# without) anything being built. To be sourced.

# little_endian VALUE BYTES: an integer of so many bytes.
little_endian() {
    local value=$1 count=$2 byte
    while [ "$count" -gt 0 ]; do
        printf -v byte '\\x%02x' $((value & 255))
        printf '%b' "$byte"
        value=$((value >> 8)) count=$((count - 1))
    done
}

# fields VALUE:BYTES...: one after the other.
fields() {
    local field
    for field in "$@"; do little_endian "${field%:*}" "${field#*:}"; done
}

# Writes the ELF object to standard output. Layout: header at 0, code at 64, symbols at 80, names at 128, section table
# at 168. Names, by offset: 1 "xdp.frags", 11 ".symtab", 19 ".strtab", 27 "pass".
xdp_pass_object() {
    printf '\x7fELF'
    fields 2:1 1:1 1:1 0:1 0:8                                                 # 64 bits, little-endian, version 1
    fields 1:2 247:2 1:4 0:8 0:8 168:8 0:4 64:2 0:2 0:2 64:2 4:2 3:2           # relocatable, BPF; 4 sections, names in 3
    fields 0xb7:1 0:1 0:2 2:4                                                  # r0 = 2 (XDP_PASS)
    fields 0x95:1 0:1 0:2 0:4                                                  # exit
    fields 0:24                                                                # symbol 0: none
    fields 27:4 0x12:1 0:1 1:2 0:8 16:8                                        # symbol 1: pass, global function
    printf '\0xdp.frags\0.symtab\0.strtab\0pass\0'; fields 0:8                 # 32 bytes and padding
    #      name type flags addr offset size link info align entry
    fields 0:4 0:4 0:8 0:8 0:8 0:8 0:4 0:4 0:8 0:8
    fields 1:4 1:4 6:8 0:8 64:8 16:8 0:4 0:4 8:8 0:8                           # the code
    fields 11:4 2:4 0:8 0:8 80:8 48:8 3:4 1:4 8:8 24:8                         # the symbols
    fields 19:4 3:4 0:8 0:8 128:8 32:8 0:4 0:4 1:8 0:8                         # the names
}
