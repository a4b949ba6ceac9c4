use pilothouse_domain::machine::CpuFeatures;

/// The first processor feature that the prebuilt server needs and that is not there.
pub fn missing_cpu_feature() -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    for (name, there) in [
        ("AVX2", std::is_x86_feature_detected!("avx2")),
        ("FMA", std::is_x86_feature_detected!("fma")),
        ("F16C", std::is_x86_feature_detected!("f16c")),
        ("BMI2", std::is_x86_feature_detected!("bmi2")),
    ] {
        if !there {
            return Some(name);
        }
    }
    None
}

/// What decides how llama.cpp keeps weights here.
pub(super) fn vector_instructions() -> CpuFeatures {
    #[cfg(target_arch = "x86_64")]
    return CpuFeatures {
        avx2: std::is_x86_feature_detected!("avx2"),
        avx512: std::is_x86_feature_detected!("avx512f"),
        ..CpuFeatures::default()
    };
    #[cfg(target_arch = "aarch64")]
    return CpuFeatures {
        neon: std::arch::is_aarch64_feature_detected!("neon"),
        dotprod: std::arch::is_aarch64_feature_detected!("dotprod"),
        ..CpuFeatures::default()
    };
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    CpuFeatures::default()
}
