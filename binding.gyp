{
  'variables': {
    # 1 (node-gyp --asan=1; Node's config.gypi overrides a -Dasan=1): with AddressSanitizer and
    # UndefinedBehaviorSanitizer (scripts/asan.sh).
    'asan%': 0,
  },
  'targets': [
    {
      'target_name': 'plyfs',
      'sources': ['<!@(node -p "require(\'fs\').readdirSync(\'native\').filter(f => f.endsWith(\'.cc\')).sort().map(f => \'native/\' + f).join(\' \')")'],
      'defines': ['NAPI_VERSION=8', '_FILE_OFFSET_BITS=64'],
      'cflags': ['-O2', '-Wall', '-Wextra', '-fvisibility=hidden'],
      'cflags_cc!': ['-std=gnu++14', '-std=gnu++17', '-std=gnu++20', '-fno-rtti'],
      'cflags_cc': ['-std=gnu++17', '-fno-exceptions'],
      'libraries': ['-pthread'],
      'conditions': [
        [
          'asan==1',
          {
            'cflags!': ['-O2', '-O3', '-fomit-frame-pointer'],
            'cflags': ['-O1', '-g', '-fno-omit-frame-pointer', '-fsanitize=address,undefined', '-fno-sanitize-recover=undefined'],
            'ldflags': ['-fsanitize=address,undefined'],
          },
        ],
      ],
    },
  ],
}
