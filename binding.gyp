{
  'variables': {
    # 1 (node-gyp --asan=1; Node's config.gypi overrides a -Dasan=1): with AddressSanitizer and
    # UndefinedBehaviorSanitizer (scripts/asan.sh).
    'asan%': 0,
  },
  'target_defaults': {
    'cflags': ['-O2', '-Wall', '-Wextra'],
    'cflags_cc!': ['-std=gnu++14', '-std=gnu++17', '-std=gnu++20', '-fno-rtti'],
    'cflags_cc': ['-std=gnu++17', '-fno-exceptions'],
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
  'targets': [
    {
      'target_name': 'plyfs',
      'sources': ['<!@(node -p "require(\'fs\').readdirSync(\'native\').filter(f => f.endsWith(\'.cc\')).sort().map(f => \'native/\' + f).join(\' \')")'],
      'defines': ['NAPI_VERSION=8', '_FILE_OFFSET_BITS=64'],
      'cflags': ['-fvisibility=hidden'],
      'libraries': ['-pthread'],
    },
    {
      # The first process of a container (native/container/first-process.cc).
      'target_name': 'container-init',
      'type': 'executable',
      'sources': [
        '<!@(node -p "require(\'fs\').readdirSync(\'native/container\').filter(f => f.endsWith(\'.cc\')).sort().map(f => \'native/container/\' + f).join(\' \')")',
        'native/loopback.cc',
        'native/process-mark.cc',
        'native/send-descriptor.cc',
      ],
      'include_dirs': ['native'],
      'ldflags!': ['-rdynamic', '-pthread'],
      'conditions': [
        [
          'asan!=1',
          {
            # No library of the host is mapped into a container.
            'ldflags': ['-static', '-s'],
          },
        ],
      ],
    },
  ],
}
