import Testing

@testable import PagingHost

@Suite struct `A report in JSON` {
  @Test func `keeps the order of its keys`() {
    var object: JSONObject = ["zeta": 1, "alpha": 2]
    object["middle"] = "x"
    object["zeta"] = 3
    #expect(JSON.object(object).compact == #"{"zeta":3,"alpha":2,"middle":"x"}"#)
    object["alpha"] = nil
    #expect(object.keys == ["zeta", "middle"])
    #expect(object["alpha"] == nil)
  }

  @Test func `writes integers exactly over 64 bits`() {
    let values = JSON.array([JSON(UInt64.max), JSON(Int64.min), JSON(0), JSON(9_007_199_254_740_993 as UInt64)])
    #expect(values.compact == "[18446744073709551615,-9223372036854775808,0,9007199254740993]")
    #expect(JSON(5) == JSON(5 as UInt8))
  }

  @Test func `writes fractions so that they read back the same`() {
    for value in [0.1, 1.0 / 3, 1e-7, 2.5e300, -0.0, .leastNonzeroMagnitude] { #expect(Double(JSON(value).compact) == value) }
    #expect(JSON.array([JSON(Double.nan), JSON(Double.infinity)]).compact == "[null,null]")
  }

  @Test func `escapes what would break a string`() {
    #expect(JSON("a\"b\\c\n\r\t\u{1}é\u{1f600}").compact == "\"a\\\"b\\\\c\\n\\r\\t\\u0001é\u{1f600}\"")
    #expect(JSON.object(["a\"": nil]).compact == #"{"a\"":null}"#)
    // A line end of two characters is one Character.
    #expect(JSON("\r\n").compact == #""\r\n""#)
  }

  @Test func `is indented for people`() {
    let value: JSON = ["results": [["a": 1], []], "none": [:], "list": [true, false]]
    #expect(
      value.indented == """
        {
          "results": [
            {
              "a": 1
            },
            []
          ],
          "none": {},
          "list": [
            true,
            false
          ]
        }
        """)
  }
}

@Suite struct `A report in CSV` {
  @Test func `has a column for every key of its rows`() {
    let csv = CSV([["name": "a", "walks": 3], ["name": "b", "faults": 0, "rate": 0.5], ["name": nil]])
    #expect(csv.text == "name,walks,faults,rate\na,3,,\nb,,0,0.5\n,,,\n")
  }

  @Test func `quotes cells with commas, quotes and line ends`() {
    var csv = CSV(header: ["a", "b"])
    csv.add(["x,y", "say \"so\""])
    csv.add(["two\r\nlines"])
    #expect(csv.text == "a,b\n\"x,y\",\"say \"\"so\"\"\"\n\"two\r\nlines\",\n")
  }
}

@Suite struct `A table` {
  @Test func `aligns numbers to the right and words to the left`() {
    var table = TextTable("architecture", "walks", "rate", "note")
    table.add("one", "1,024", "99.5%", "")
    table.add("another", "7", "-", "slow")
    #expect(
      table.text == """
        architecture  walks   rate  note
        ------------  -----  -----  ----
        one           1,024  99.5%
        another           7      -  slow

        """)
  }

  @Test func `takes an alignment that is given`() {
    var table = TextTable([.init("bits", .left), .init("name", .right)])
    table.add(["12", "abcdef"])
    table.add(["1"])
    #expect(table.text == "bits    name\n----  ------\n12    abcdef\n1\n")
  }

  @Test func `does not let a cell steer the terminal`() {
    var table = TextTable("name")
    table.add("a\u{1b}[31m\nb")
    #expect(table.text == "name\n--------\na [31m b\n")
  }
}

@Suite struct `Numbers in a report` {
  @Test func `are grouped in threes`() {
    #expect([0, 999, 1000, 1_234_567, -1000].map(NumberText.grouped) == ["0", "999", "1,000", "1,234,567", "-1,000"])
    #expect(NumberText.grouped(UInt64.max) == "18,446,744,073,709,551,615")
  }

  @Test func `have a fixed number of decimals`() {
    #expect(NumberText.fixed(0, decimals: 2) == "0.00")
    #expect(NumberText.fixed(1.005, decimals: 1) == "1.0")
    #expect(NumberText.fixed(-0.125, decimals: 2) == "-0.13")
    #expect(NumberText.fixed(-0.001, decimals: 2) == "0.00")
    #expect(NumberText.fixed(2.999, decimals: 2) == "3.00")
    #expect(NumberText.fixed(12.5, decimals: 0) == "13")
    #expect(NumberText.fixed(.nan, decimals: 2) == "-")
    #expect(NumberText.fixed(1e300, decimals: 2) == "1e+300")
  }

  @Test func `are parts of a whole in percent`() {
    #expect(NumberText.percent(1, of: 3) == "33.33%")
    #expect(NumberText.percent(1, of: 1, decimals: 0) == "100%")
    #expect(NumberText.percent(0, of: 0) == "-")
  }
}
