// A dynamic library looked at before it is loaded. Loading runs the library's constructors, and a file that was cut off
// kills the process inside the dynamic linker, so both questions are settled from the bytes: is it whole, and does it
// export the entry symbol?
import Glibc

/// The parts of an ELF library that decide whether it may be loaded.
struct ElfFile {
  private let file: PositionedFile
  private let segments: [Elf64_Phdr]

  /// Throws unless this is a whole library for the machine this program runs on.
  init(path: String) throws(FileRefusal) {
    let file = try PositionedFile.open(path)
    guard file.byteCount > 0 else { throw FileRefusal("an empty file") }
    guard file.bytes(at: 0, count: 4) == [0x7f, 0x45, 0x4c, 0x46] else { throw FileRefusal("a file that is not ELF") }
    guard let header = file.record(Elf64_Ehdr.self, at: 0) else { throw FileRefusal(Self.cutOff(file.byteCount)) }
    try Self.checkMachine(header)
    guard header.e_type == UInt16(ET_DYN) else { throw FileRefusal("ELF of type \(header.e_type), not a library") }
    guard Int(header.e_phentsize) == MemoryLayout<Elf64_Phdr>.size else {
      throw FileRefusal("program headers of \(header.e_phentsize) bytes")
    }
    segments = try Self.segments(of: file, header)
    self.file = file
  }

  private static func cutOff(_ byteCount: UInt64) -> String { "a library cut off after \(byteCount) bytes" }

  /// The running program is the measure of what can be loaded.
  private static func checkMachine(_ header: Elf64_Ehdr) throws(FileRefusal) {
    let own = try PositionedFile.open("/proc/self/exe")
    guard let mine = own.record(Elf64_Ehdr.self, at: 0) else { throw FileRefusal("no header to compare with") }
    guard header.e_ident.4 == mine.e_ident.4, header.e_ident.5 == mine.e_ident.5, header.e_machine == mine.e_machine
    else {
      throw FileRefusal(
        "a library for another machine (ELF class \(header.e_ident.4), machine \(header.e_machine); "
          + "this program is class \(mine.e_ident.4), machine \(mine.e_machine))")
    }
  }

  private static func segments(of file: PositionedFile, _ header: Elf64_Ehdr) throws(FileRefusal) -> [Elf64_Phdr] {
    var segments: [Elf64_Phdr] = []
    for index in 0..<UInt64(header.e_phnum) {
      let offset = header.e_phoff.addingReportingOverflow(index * UInt64(header.e_phentsize))
      guard !offset.overflow, let segment = file.record(Elf64_Phdr.self, at: offset.partialValue) else {
        throw FileRefusal(cutOff(file.byteCount))
      }
      let end = segment.p_offset.addingReportingOverflow(segment.p_filesz)
      guard !end.overflow, end.partialValue <= file.byteCount else { throw FileRefusal(cutOff(file.byteCount)) }
      segments.append(segment)
    }
    return segments
  }

  /// Whether the library defines a dynamic symbol of this name that may be called: data under that name is none.
  func exports(_ name: String) -> Bool {
    guard let dynamic = dynamicSection(),
      let symbols = dynamic[DT_SYMTAB].flatMap(offset(of:)), let strings = dynamic[DT_STRTAB].flatMap(offset(of:))
    else { return false }
    let table = SymbolTable(symbols: symbols, strings: strings)
    if let hash = dynamic[Int(DT_GNU_HASH)].flatMap(offset(of:)) { return find(name, in: table, gnuHash: hash) }
    if let hash = dynamic[DT_HASH].flatMap(offset(of:)) { return find(name, in: table, hash: hash) }
    return false
  }

  private struct SymbolTable { let symbols, strings: UInt64 }
  private let DT_STRTAB = 5, DT_SYMTAB = 6, DT_HASH = 4, DT_GNU_HASH = 0x6fff_fef5

  private func dynamicSection() -> [Int: UInt64]? {
    guard let segment = segments.first(where: { $0.p_type == UInt32(PT_DYNAMIC) }) else { return nil }
    var entries: [Int: UInt64] = [:]
    for index in 0..<min(segment.p_filesz / 16, 4096) {
      guard let pair = file.record(SIMD2<UInt64>.self, at: segment.p_offset + index * 16) else { return nil }
      if pair[0] == 0 { break }
      entries[Int(truncatingIfNeeded: pair[0])] = pair[1]
    }
    return entries
  }

  private func offset(of address: UInt64) -> UInt64? {
    for segment in segments where segment.p_type == UInt32(PT_LOAD) {
      if address >= segment.p_vaddr, address - segment.p_vaddr < segment.p_filesz {
        return segment.p_offset + (address - segment.p_vaddr)
      }
    }
    return nil
  }

  private func word(_ base: UInt64, _ index: UInt64) -> UInt64? {
    file.record(UInt32.self, at: base + index * 4).map(UInt64.init)
  }

  private func isDefinition(_ index: UInt64, of name: String, in table: SymbolTable) -> Bool {
    guard let symbol = file.record(Elf64_Sym.self, at: table.symbols + index * 24), symbol.st_shndx != 0,
      [STT_NOTYPE, STT_FUNC, STT_GNU_IFUNC].contains(Int32(symbol.st_info & 15))
    else { return false }
    return file.bytes(at: table.strings + UInt64(symbol.st_name), count: name.utf8.count + 1) == Array(name.utf8) + [0]
  }

  /// The chains are bounded: a damaged table must not make this long.
  private let chainLimit: UInt64 = 1 << 16

  private func find(_ name: String, in table: SymbolTable, gnuHash base: UInt64) -> Bool {
    guard let buckets = word(base, 0), buckets > 0, let firstSymbol = word(base, 1), let bloom = word(base, 2) else {
      return false
    }
    let hash = name.utf8.reduce(UInt32(5381)) { $0 &* 33 &+ UInt32($1) }
    let bucketBase = base + 16 + bloom * 8
    let chainBase = bucketBase + buckets * 4
    guard let first = word(bucketBase, UInt64(hash) % buckets), first >= firstSymbol else { return false }
    for index in first..<first + chainLimit {
      guard let chained = word(chainBase, index - firstSymbol) else { return false }
      if UInt32(chained) | 1 == hash | 1, isDefinition(index, of: name, in: table) { return true }
      if chained & 1 == 1 { return false }
    }
    return false
  }

  private func find(_ name: String, in table: SymbolTable, hash base: UInt64) -> Bool {
    guard let buckets = word(base, 0), buckets > 0 else { return false }
    let hash = name.utf8.reduce(UInt32(0)) { sum, byte in
      let shifted = sum << 4 &+ UInt32(byte)
      let top = shifted & 0xf000_0000
      return (shifted ^ top >> 24) & ~top
    }
    var index = word(base, 2 + UInt64(hash) % buckets) ?? 0
    for _ in 0..<chainLimit where index != 0 {
      if isDefinition(index, of: name, in: table) { return true }
      index = word(base, 2 + buckets + index) ?? 0
    }
    return false
  }
}
