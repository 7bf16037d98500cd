/**
 * Expected texts are those that docker 20.10's own client printed for the same template
 * (`docker context inspect --format`).
 */
import t from 'tap';
import { compileTemplate } from '../../../src/cli/go-template/template.js';

const data = {
  Name: 'default',
  Config: {
    Env: ['PATH=/bin', 'HOME=/'],
    Cmd: null,
    Labels: new Map([
      ['b', '2'],
      ['a', '1'],
    ]),
  },
  Sizes: [10, 2],
  On: true,
};

function render(template: string): string {
  return compileTemplate(template)(data);
}

t.test('text, trim markers and comments', (t) => {
  const cases: [string, string][] = [
    ['plain', 'plain'],
    ['a{{- 1 -}} b', 'a1b'],
    ['{{/* c */}}x {{- /* d */ -}} y', 'xy'],
    ['{{- 3}}', '3'],
    ['x {{- 3 }} y', 'x3 y'],
    ['{{"}}"}}', '}}'],
  ];
  for (const [template, text] of cases) t.equal(render(template), text, template);
  t.end();
});

t.test('fields, variables, literals and pipelines', (t) => {
  const cases: [string, string][] = [
    ['{{.Name}} {{ $.Name }}', 'default default'],
    ['{{.Config.Env}}{{.Config.Labels}}', '[PATH=/bin HOME=/]map[a:1 b:2]'],
    [
      '{{.Config.Labels.a}} {{.Config.Labels.none}} {{index .Config.Labels "none"}}',
      '1 <no value> ',
    ],
    ['{{.Config.Cmd}}{{print nil}}', '<no value><nil>'],
    ['{{(index .Config.Env 1)}}', 'HOME=/'],
    ['{{$x := 1}}{{if true}}{{$x = 2}}{{$x := 3}}{{end}}{{$x}}', '2'],
    [
      '{{"a" | printf "%s-%s" "b"}} {{`raw\\n`}} {{\'a\'}} {{"\\t\\u00e9"}}',
      'b-a raw\\n 97 \t\u00e9',
    ],
    ['{{ 1.5 }}{{0x10}}{{-3}}', '1.516-3'],
    ['{{.Name | len}}', '7'],
  ];
  for (const [template, text] of cases) t.equal(render(template), text, template);
  t.end();
});

t.test('if, with, range, define, block', (t) => {
  const cases: [string, string][] = [
    ['{{if eq 1 2}}a{{else if eq 2 2}}b{{else}}c{{end}}', 'b'],
    ['{{if .Config.Cmd}}yes{{else}}no{{end}}', 'no'],
    ['{{with "a"}}{{.}}{{else}}n{{end}}{{with ""}}x{{else}}y{{end}}', 'ay'],
    [
      '{{range $i, $e := .Config.Env}}{{if $i}},{{end}}{{$i}}={{$e}}{{end}}',
      '0=PATH=/bin,1=HOME=/',
    ],
    ['{{range $k, $v := .Config.Labels}}{{$k}}{{$v}}{{end}}', 'a1b2'],
    ['{{range .Config.Cmd}}x{{else}}none{{end}}', 'none'],
    [
      '{{range split "a b c d" " "}}{{if eq . "b"}}{{continue}}{{end}}{{if eq . "d"}}{{break}}{{end}}{{.}}{{end}}',
      'ac',
    ],
    ['{{define "T"}}<{{.}}>{{end}}{{template "T" "q"}}{{block "B" 3}}[{{.}}]{{end}}', '<q>[3]'],
  ];
  for (const [template, text] of cases) t.equal(render(template), text, template);
  t.end();
});

t.test('functions', (t) => {
  const cases: [string, string][] = [
    ['{{println 1 "a" 2}}|', '1 a 2\n|'],
    ['{{print 1 2 "a" "b" 3 true}}', '1 2ab3 true'],
    [
      '{{printf "%5s|%-5s|%05d|%x|%q|%v|%t" "a" "b" 42 255 "q\\"" 3 true}}',
      '    a|b    |00042|ff|"q\\""|3|true',
    ],
    [
      '{{printf "%d" "x"}} {{printf "%s"}} {{printf "%s" "a" "b"}}',
      '%!d(string=x) %!s(MISSING) a%!(EXTRA string=b)',
    ],
    [
      '{{printf "%.2f %g %+d %% %6.2s| %*d %08.3f" 1.5 3.5 3 "abc" 5 1 3.14159}}',
      '1.50 3.5 +3 %     ab|     1 0003.142',
    ],
    [
      '{{printf "%v %s %q" (split "a b" " ") (split "a b" " ") (split "a b" " ")}}',
      '[a b] [a b] ["a" "b"]',
    ],
    ['{{len "h\u00e9llo"}} {{index "abc" 1}} {{slice "abcdef" 1 3}}', '6 98 bc'],
    [
      '{{eq 1 2 1}} {{ne "a" "b"}} {{lt 1 2}} {{ge "b" "a"}} {{and 1 0 2}} {{or 0 "" "z"}} {{not true}}',
      'true true true true 0 z false',
    ],
    [
      '{{join (split "a,b,c" ",") "-"}} {{upper "ab"}} {{lower "AB"}} {{title "hello o\'neil"}} {{pad "x" 1 2}}|',
      "a-b-c AB ab Hello O'Neil  x  |",
    ],
    [
      '{{json (split "a,<b>" ",")}} {{json .Config.Labels}} {{json .Config.Cmd}}',
      '["a","<b>"] {"a":"1","b":"2"} null',
    ],
    [
      '{{html "<a&\\"\'>"}} {{urlquery "a b&c"}} {{js "a\'<b>"}}',
      "&lt;a&amp;&#34;&#39;&gt; a+b%26c a\\'\\u003Cb\\u003E",
    ],
  ];
  for (const [template, text] of cases) t.equal(render(template), text, template);
  t.end();
});

t.test('a chain of else if may be of any length', (t) => {
  const chain = '{{else if eq .Name "other"}}a'.repeat(5000);
  t.equal(render(`{{if false}}a${chain}{{else with .On}}{{.}}{{else}}a{{end}}`), 'true');
  t.equal(render(`{{if false}}a${chain}{{else}}b{{end}}`), 'b');
  t.end();
});

t.test('what docker refuses is refused, in one sentence', (t) => {
  const refused = [
    '{{.Nope}}',
    '{{.Name.Nope}}',
    '{{.Config.Cmd.Nope}}',
    '{{foo}}',
    '{{constructor}}',
    '{{.constructor}}',
    '{{if}}x{{end}}',
    '{{if true}}x',
    '{{',
    '{{"a}}',
    '{{end}}',
    '{{1 2}}',
    '{{"a" | "b"}}',
    '{{index (split "a" "b") 3}}',
    '{{break}}',
    '{{$y}}',
    '{{len 3}}',
    '{{3 - }}',
    '{{ -}}',
    '{{not}}',
    '{{eq 1}}',
    '{{eq 1 "a"}}',
    '{{define "T"}}{{template "T"}}{{end}}{{template "T"}}',
    '{{if true}}'.repeat(20_000) + '{{end}}'.repeat(20_000),
    '{{' + '('.repeat(20_000) + '1' + ')'.repeat(20_000) + '}}',
    `{{define "T"}}${'{{if true}}'.repeat(90)}{{template "T"}}${'{{end}}'.repeat(90)}{{end}}{{template "T"}}`,
  ];
  for (const template of refused)
    t.throws(
      () => render(template),
      { code: 'usage', message: /^The template cannot be used: [^\n]+\.$/ },
      template,
    );
  t.end();
});
