"""Label configs that several tests read."""

STREET = """<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="label" toName="image">
    <Label value="Car" background="green"/><Label value="Person" background="blue"/>
  </RectangleLabels>
</View>"""

EVERYTHING = """<View>
  <!-- what a project can hold -->
  <Header value="Look"/>
  <Image name="img" value="$image" zoom="true"/>
  <RectangleLabels name="box" toName="img">
    <Label value="Car"/><Label value="A person" alias="person"/>
  </RectangleLabels>
  <PolygonLabels name="poly" toName="img"><Label value="Car"/><Label value="Building"/></PolygonLabels>
  <BrushLabels name="brush" toName="img"><Label value="Road"/></BrushLabels>
  <KeyPointLabels name="kp" toName="img"><Label value="Nose"/><Label value="Left Eye"/></KeyPointLabels>
  <Choices name="quality" toName="img"><View><Choice value="good"/><Choice value="bad"/></View></Choices>
  <Choices name="things" toName="img" choice="multiple"><Choice value="indoor"/><Choice value="night"/></Choices>
  <Image name="side" value="$side"/>
  <RectangleLabels name="sidebox" toName="side"><Label value="Car"/></RectangleLabels>
  <Image name="pages" valueList="$pages"/>
  <Labels name="old" toName="img"><Label value="a"/></Labels>
  <Choices name="per" toName="img" perRegion="true"><Choice value="x"/></Choices>
  <RectangleLabels name="dynamic" toName="img" value="$labels"/>
  <RectangleLabels name="nowhere" toName="text"><Label value="Car"/></RectangleLabels>
  <TextArea name="note" toName="img"/>
  <Text name="text" value="$text"/>
</View>"""

POSE = """<View><Image name="i" value="$i"/>
  <KeyPointLabels name="kp" toName="i"><Label value="Nose"/><Label value="Left Eye"/><Label value="Right Eye"/>
  </KeyPointLabels></View>"""
