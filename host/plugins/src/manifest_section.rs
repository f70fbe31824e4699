//! Reading the manifest out of a library file without running any of it.

use object::elf::{ET_DYN, FileHeader64};
use object::read::elf::{ElfFile, FileHeader};
use object::read::{ReadCache, ReadCacheOps};
use object::{Endianness, Object, ObjectSection};
use plugin_api::MANIFEST_SECTION;
use std::fs::File;
use std::path::Path;

/// Greatest manifest that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

#[cfg(target_arch = "x86_64")]
const MACHINE: object::elf::Machine = object::elf::EM_X86_64;
#[cfg(target_arch = "aarch64")]
const MACHINE: object::elf::Machine = object::elf::EM_AARCH64;

/// The bytes of a library's manifest, or why there are none.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, String> {
    find(File::open(path).map_err(|error| format!("it cannot be read: {error}"))?)
}

/// The same of a library that is open.
pub(crate) fn find(library: impl ReadCacheOps) -> Result<Vec<u8>, String> {
    // Reads only what is looked at: libraries may be large.
    let cache = ReadCache::new(library);
    let elf = ElfFile::<FileHeader64<Endianness>, _>::parse(&cache)
        .map_err(|error| format!("it is no shared library, or is damaged: {error}"))?;
    let (header, endian) = (elf.elf_header(), elf.endian());
    if header.e_type(endian) != ET_DYN {
        return Err("it is no shared library".into());
    }
    if header.e_machine(endian) != MACHINE {
        return Err(format!("it is for another machine than {}", std::env::consts::ARCH));
    }
    let section = elf
        .section_by_name(MANIFEST_SECTION)
        .ok_or_else(|| format!("it has no section {MANIFEST_SECTION}, so it is no plugin"))?;
    if section.size() > MAX_BYTES {
        return Err(format!("its manifest has {} bytes; {MAX_BYTES} is most", section.size()));
    }
    let bytes = section.data().map_err(|error| format!("its manifest cannot be read: {error}"))?;
    Ok(trim(bytes).to_vec())
}

/// A manifest without zero bytes at its end: C adds one to a text, linkers add some.
pub(crate) fn trim(manifest: &[u8]) -> &[u8] {
    let end = manifest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &manifest[..end]
}
