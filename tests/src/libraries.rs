//! Plugin files for tests: first-party libraries as built, and C plugins compiled on the spot.

use std::path::{Path, PathBuf};
use std::process::Command;

/// `target/debug`: where cargo puts programs and libraries, two folders above a test's own program.
pub fn build_folder() -> PathBuf {
    let program = std::env::current_exe().expect("a test knows its program");
    let folder = program.parent().expect("a program lies in a folder");
    let folder = if folder.ends_with("deps") { folder.parent() } else { Some(folder) };
    folder.expect("`deps` lies in a folder").to_owned()
}

/// The repository's root.
pub fn root() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().expect("`tests` lies in the repository").to_owned()
}

/// A plugin's library as built: `library("passthrough")`.
pub fn library(plugin: &str) -> PathBuf {
    let path = build_folder().join(format!("libplugin_{}.so", plugin.replace('-', "_")));
    assert!(path.exists(), "{} is missing; `cargo build --workspace` makes it", path.display());
    path
}

/// Copies a library into a plugin folder as an operator would: whole, by rename.
pub fn install(library: &Path, folder: &Path) -> PathBuf {
    let name = library.file_name().expect("a library has a name");
    let staged = folder.join(format!(".{}.new", name.to_string_lossy()));
    std::fs::copy(library, &staged).expect("the plugin folder takes a file");
    let path = folder.join(name);
    std::fs::rename(staged, &path).expect("a rename within a folder");
    path
}

/// Compiles `tests/plugins/c/<name>.c`, as it is or changed, against nothing but `plugin.h`.
pub fn c_plugin(name: &str, folder: &Path, edit: impl FnOnce(String) -> String) -> PathBuf {
    let original = root().join(format!("tests/plugins/c/{name}.c"));
    let text = std::fs::read_to_string(&original).expect("the source is readable");
    let source = folder.join(format!("{name}.c"));
    std::fs::write(&source, edit(text)).expect("the folder takes a file");
    let library = folder.join(format!("lib{name}.so"));
    let status = Command::new("gcc")
        .args(["-std=c11", "-Wall", "-Wextra", "-Werror", "-O2", "-shared", "-fPIC", "-I"])
        .arg(root().join("plugin-api/include"))
        .arg("-o")
        .args([&library, &source])
        .status()
        .expect("gcc runs");
    assert!(status.success(), "gcc refused {}", source.display());
    library
}
