{
  'variables': {
    # Warnings that GCC 12 gives for its own intrinsics.
    'quiet': ['-Wno-uninitialized', '-Wno-maybe-uninitialized', '-Wno-psabi'],
    'kernel_flags': ['-std=c++17', '-O<!(node -p "process.env.GRAFT_SANITIZE ? 1 : 3")', '-fno-exceptions', '-fno-rtti', '-fno-math-errno', '-fno-trapping-math', '-fvisibility=hidden'],
    'avx2': ['-mavx2', '-mfma', '-mf16c'],
    'avx512': ['-mavx2', '-mfma', '-mf16c', '-mavx512f', '-mavx512bw', '-mavx512dq', '-mavx512vl', '-mprefer-vector-width=512'],
    # Set GRAFT_SANITIZE=address,undefined to look for mistakes of memory: see test/sanitize.
    'sanitize%': '<!(node -p "process.env.GRAFT_SANITIZE || \'\'")',
  },
  'target_defaults': {
    'cflags!': ['-fno-exceptions', '-O2', '-Os'],
    'cflags_cc!': ['-fno-exceptions', '-std=gnu++17', '-std=gnu++20', '-fno-rtti'],
    'conditions': [
      ['sanitize!=""', {
        'cflags': ['-fsanitize=<(sanitize)', '-fno-omit-frame-pointer', '-g'],
        'ldflags': ['-fsanitize=<(sanitize)'],
      }],
    ],
  },
  'targets': [
    {
      'target_name': 'isa_base',
      'type': 'static_library',
      'sources': ['isa/isa_base.cc'],
      'cflags_cc': ['<@(kernel_flags)', '<@(quiet)'],
      'xcode_settings': {'OTHER_CPLUSPLUSFLAGS': ['<@(kernel_flags)']},
    },
    {
      'target_name': 'graft_native',
      'sources': [
        'addon.cc',
        'runtime/arena.cc', 'runtime/space.cc', 'runtime/pool.cc', 'runtime/runtime.cc',
        'isa/choose.cc',
        '<!@(node -p "require(\'fs\').readdirSync(\'ops\').filter((f) => f.endsWith(\'.cc\')).sort().map((f) => \'ops/\' + f).join(\' \')")',
      ],
      'include_dirs': ['<!(node -p "require(\'node-addon-api\').include_dir")'],
      'defines': ['NAPI_VERSION=8', 'NODE_ADDON_API_CPP_EXCEPTIONS', 'NODE_ADDON_API_CPP_EXCEPTIONS_ALL'],
      'cflags_cc': ['-std=c++17', '-O2', '-fexceptions', '-fvisibility=hidden', '-Wall', '-Wextra', '<@(quiet)'],
      'xcode_settings': {'GCC_ENABLE_CPP_EXCEPTIONS': 'YES', 'CLANG_CXX_LANGUAGE_STANDARD': 'c++17', 'MACOSX_DEPLOYMENT_TARGET': '11.0'},
      'dependencies': ['isa_base'],
      'conditions': [
        ['target_arch=="x64"', {'dependencies': ['isa_avx2', 'isa_avx512', 'isa_avx512bf16']}],
      ],
    },
  ],
  'conditions': [
    ['target_arch=="x64"', {
      'targets': [
        {
          'target_name': 'isa_avx2',
          'type': 'static_library',
          'sources': ['isa/isa_avx2.cc'],
          'cflags_cc': ['<@(kernel_flags)', '<@(quiet)', '<@(avx2)'],
          'xcode_settings': {'OTHER_CPLUSPLUSFLAGS': ['<@(kernel_flags)', '<@(avx2)']},
        },
        {
          'target_name': 'isa_avx512',
          'type': 'static_library',
          'sources': ['isa/isa_avx512.cc'],
          'cflags_cc': ['<@(kernel_flags)', '<@(quiet)', '<@(avx512)'],
          'xcode_settings': {'OTHER_CPLUSPLUSFLAGS': ['<@(kernel_flags)', '<@(avx512)']},
        },
        {
          'target_name': 'isa_avx512bf16',
          'type': 'static_library',
          'sources': ['isa/isa_avx512bf16.cc'],
          'cflags_cc': ['<@(kernel_flags)', '<@(quiet)', '<@(avx512)', '-mavx512bf16'],
          'xcode_settings': {'OTHER_CPLUSPLUSFLAGS': ['<@(kernel_flags)', '<@(avx512)', '-mavx512bf16']},
        },
      ],
    }],
  ],
}
