"""Feeds as publishers write them: RSS 0.91, 1.0, 2.0 and Atom 1.0, and what is none."""

from __future__ import annotations

from typing import Any

from support.api_server import Reply

RSS_091 = """<?xml version="1.0"?>
<!DOCTYPE rss PUBLIC "-//Netscape Communications//DTD RSS 0.91//EN"
  "http://my.netscape.com/publish/formats/rss-0.91.dtd">
<rss version="0.91"><channel>
  <title>Old news</title><link>http://old.example/</link><description>d</description>
  <item><title>First &amp; last</title><link>http://old.example/1</link>
    <description>One</description></item>
  <item><title>Second</title><link>http://old.example/2</link></item>
</channel></rss>
"""

RSS_10 = """<?xml version="1.0" encoding="UTF-8"?>
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/"
         xmlns:dc="http://purl.org/dc/elements/1.1/">
  <channel rdf:about="http://rdf.example/"><title>RDF</title><link>http://rdf.example/</link>
    <description>d</description>
    <items><rdf:Seq><rdf:li rdf:resource="urn:x:1"/></rdf:Seq></items></channel>
  <item rdf:about="urn:x:1"><title>Über</title><link>http://rdf.example/1</link>
    <dc:creator>Zoë</dc:creator><dc:date>2026-01-02T03:04:05+02:00</dc:date>
    <dc:subject>physics</dc:subject></item>
</rdf:RDF>
"""

RSS_20 = """<?xml version="1.0" encoding="UTF-8"?>
<?xml-stylesheet type="text/xsl" href="/style.xsl"?>
<rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/"
     xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:media="http://search.yahoo.com/mrss/"
     xmlns:itunes="http://www.itunes.com/dtds/podcast-1.0.dtd">
<channel>
  <title>Blog</title><link>https://blog.example/</link><description>All</description>
  <item>
    <title><![CDATA[A < B & "C" &nbsp;]]></title>
    <link>https://blog.example/a?x=1&amp;y=2</link>
    <guid isPermaLink="false">tag:blog,1</guid>
    <pubDate>Wed, 31 Dec 2025 23:30:00 -0800</pubDate>
    <dc:creator>Ann &#x1F30D;</dc:creator>
    <category domain="https://blog.example/tags">news</category><category>ü</category>
    <description>Short&nbsp;&mdash; &lt;b&gt;text&lt;/b&gt;</description>
    <content:encoded><![CDATA[<p onclick="x()">A <a href="/more">b</a></p>]]></content:encoded>
    <enclosure url="https://blog.example/a.mp3" length="12345678901" type="audio/mpeg"/>
    <media:thumbnail url="https://blog.example/a.png"/>
    <itunes:duration>10:00</itunes:duration>
  </item>
  <item>
    <guid>https://blog.example/b</guid>
    <pubDate>Thu, 01 Jan 2026 12:00:00 GMT</pubDate>
    <description>No title</description>
  </item>
  <item><title>No id, no date</title></item>
</channel></rss>
"""

ATOM = """<?xml version="1.0" encoding="utf-8"?>
<feed xmlns="http://www.w3.org/2005/Atom" xml:base="https://atom.example/posts/" xml:lang="de">
  <title type="html">&lt;em&gt;Atom&lt;/em&gt;</title>
  <id>urn:uuid:1</id><updated>2026-01-03T00:00:00Z</updated>
  <author><name>Feed's author</name></author>
  <entry>
    <id>urn:uuid:2</id><title>Eins</title><link href="one"/>
    <link rel="enclosure" href="one.pdf" type="application/pdf" length="7"/>
    <published>2026-01-01T00:00:00.125+01:00</published>
    <updated>2026-01-02T00:00:00.123456Z</updated>
    <author><name>Bo</name><email>bo@atom.example</email></author>
    <category term="t1" scheme="urn:s" label="T 1"/>
    <summary>Kurz</summary>
    <content type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml"><p>Lang &#8230; <br/></p>
    </div></content>
  </entry>
  <entry><id>urn:uuid:3</id><title/><updated>2026-01-03T00:00:00Z</updated>
    <content type="text">A &lt; B</content></entry>
</feed>
"""


def feed(items: list[tuple[str, str, str]], *, more: str = "") -> str:
    """Return an RSS feed of items: guid, title and date."""
    texts = "".join(
        f"<item><guid>{guid}</guid><title>{title}</title><pubDate>{date}</pubDate></item>"
        for guid, title, date in items
    )
    return f'<rss version="2.0"><channel><title>x</title>{texts}{more}</channel></rss>'


def xml(text: str | bytes, type_: str = "application/rss+xml") -> Any:
    """Return a handler that answers with a feed."""
    content = text if isinstance(text, bytes) else text.encode()
    return lambda _: Reply(content, headers={"Content-Type": type_})
