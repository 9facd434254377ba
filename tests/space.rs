//! Disk space is given back: what passes through leaves none behind (I11), whatever few messages stay among it.
