"""What messages of the three dialects have in common: the dictionary with which blocks are compressed.

Without it a commit of one payload, which is what a server with few visitors writes, spends half of its bytes
on the names of keys. It holds nothing that any page sent, so it may stay when a session is erased.

A block of format 2 can be read with these very bytes only: **they never change**. Better ones are another
format.
"""

from __future__ import annotations

PHRASES = b"".join(
    [
        # DataKraken
        b'{"type":"start","meta":{"device":"","referrer":"https://www."}}',
        b'[{"type":"mousemove","x":1,"y":1,"timestamp":17},{"type":"mouseclick","button":"left","target":"#',
        b'","rank":},{"type":"scroll","scrollX":0,"scrollY":,"target":"body > main > section.'
        b" > div.container > ul > li:nth-child(",
        b'{"listener":"keyboard","data":{"key":"","code":"Key","word":""},"time":17},{"listener":"hover","data":',
        # LogUI 0.5
        b'{"sender":"logUIClient","type":"logEvents","payload":{"length":10,"items":[{"eventType":"statusEvent",'
        b'"eventDetails":{"type":"started","browserAgentString":"Mozilla/5.0 (Windows NT 10.0; Win64; x64) '
        b'AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36","screenResolution":{"width":'
        b'1920,"height":1080,"depth":24},"viewportResolution":{"width":1920,"height":969}},"sessionID":"',
        b'{"eventType":"customEvent","eventDetails":{"type":"appSpecificDataUpdated","oldData":{},"newData":{',
        b'{"eventType":"browserEvent","eventDetails":{"type":"viewportResize","viewportWidth":1920,'
        b'"viewportHeight":969,"stringRepresentation":"',
        b'{"eventType":"browserEvent","eventDetails":{"clientX":1,"clientY":1,"screenX":1,"screenY":1,"pageX":1,'
        b'"pageY":1,"pageHadFocus":true,"type":"cursorTracking","trackingType":"positionUpdate"},"sessionID":"',
        b'cursorEnteredViewport","cursorLeftViewport","pageFocus","hasFocus":true,"URLChange","newURL":"https://',
        b'{"eventType":"interactionEvent","eventDetails":{"type":"mouseleave","name":"","clickedButton":"left"},'
        b'"sessionID":"","timestamps":{"eventTimestamp":"2026-01-01T00:00:00.000Z","sinceSessionStartMillis":1,'
        b'"sinceLogUILoadMillis":1},"metadata":[],"applicationSpecificData":{"userID":"user-","condition":1,',
        # LogUI 0.4
        b'{"payloadType":"LogUIEventPayload","payloadID":1,"clientInstance":"","session":"leavingPage",'
        b'"appSpecificLogData":{',
        b'"eventDetails":{"type":"visibilitychange","hidden":true,"type":"keydown","type":"focus","type":"blur",'
        b'"type":"submit","type":"resize","width":1920,"height":1080,"type":"navigation","url":"https://www.',
        b'{"clientDateTime":17,"eventType":"customEvent","eventDetails":{"type":"',
        b'"eventDetails":{"type":"mouseup","button":0,"target":{"tag":"div","id":"","classes":["',
        b'"eventDetails":{"type":"mousemove","x":1,"y":1,"type":"scroll","x":0,"y":1,"target":"',
        b'{"payloadType":"LogUIEventPayload","eventsToBeLogged":[{"clientDateTime":17,"eventType":"interactionEvent'
        b'","eventDetails":{"type":"click","name":"","x":100,"y":100,"key":""},"timestamps":{'
        b'"sinceSessionStartMillis":1,"sinceLogUILoadMillis":1},"page":"/search?q=","metadata":[{"name":"","value"'
        b':1},{"name":"","value":""}]},{"clientDateTime":17,"eventType":"interactionEvent","eventDetails":{"type":"'
        b'mouseenter","name":"","x":100,"y":100}}]}',
    ]
)
